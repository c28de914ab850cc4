/**
 * Stands in for the native HTTP client of aws-lambda-ric, which is C++ that would have to be compiled at install.
 * Preloaded into each sandbox (`node --require`): when the runtime asks for its addon, it gets this module.
 *
 * The native client posts an answer synchronously; here `next` waits for it instead, which the runtime cannot tell
 * apart, since it asks for the next invocation right after answering. When the Runtime API is gone, so is the host:
 * the process ends.
 */
const http = require("node:http");
const { registerHooks } = require("node:module");
const { pathToFileURL } = require("node:url");

const hooks = registerHooks({
  resolve(specifier, context, nextResolve) {
    if (!specifier.endsWith("rapid-client.node")) return nextResolve(specifier, context);
    hooks.deregister();
    return { url: pathToFileURL(__filename).href, format: "commonjs", shortCircuit: true };
  },
});

const [host, port] = (process.env.AWS_LAMBDA_RUNTIME_API ?? "").split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
let answered = Promise.resolve();

function call(method, path, body, headers) {
  return new Promise((resolve) => {
    const gone = () => process.exit(1);
    const request = http.request(
      { host, port, agent, method, path: `/2018-06-01/runtime${path}`, headers },
      (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", gone);
        response.on("end", () =>
          resolve({ headers: response.headers, body: Buffer.concat(chunks).toString() }),
        );
      },
    );
    request.on("error", gone);
    request.end(body);
  });
}

module.exports = {
  async next() {
    await answered;
    const { headers, body } = await call("GET", "/invocation/next");
    const deadlineMs = Number(headers["lambda-runtime-deadline-ms"]);
    return { bodyJson: body, headers: { ...headers, "lambda-runtime-deadline-ms": deadlineMs } };
  },
  done(requestId, body) {
    answered = call("POST", `/invocation/${requestId}/response`, body, {
      "content-type": "application/json",
    });
  },
  error(requestId, body) {
    answered = call("POST", `/invocation/${requestId}/error`, body, { "content-type": "application/json" });
  },
};
