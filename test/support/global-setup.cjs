// Processes that tests start run the sources: what is compiled once is compiled for all of them.
const { join } = require("node:path");

module.exports = () => {
  process.env.NODE_COMPILE_CACHE ??= join(__dirname, "../../build/compile-cache");
};
