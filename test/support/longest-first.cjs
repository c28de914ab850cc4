// The tests that start whole stacks and processes take longest: they begin first, so that at the end no worker waits for another.
const Sequencer = require("@jest/test-sequencer").default;

const long =
  /\/test\/(e2e|runbook|crash|sim|package|constructs\/app|cli\/operating|bench|corruption\/forged)\b/;

module.exports = class extends Sequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    return [
      ...sorted.filter(({ path }) => long.test(path)),
      ...sorted.filter(({ path }) => !long.test(path)),
    ];
  }
};
