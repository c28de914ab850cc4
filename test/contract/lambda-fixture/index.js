// The function that the Lambda contract is told through (test/contract/aws-lambda.test.ts). To run the suite against
// AWS, deploy this folder as a nodejs24.x function with 256 MB and a timeout of 2 s, handler index.handler.
const { readdirSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");

let invocations = 0;
let ticks = 0;
setInterval(() => ticks++, 20).unref();

const actions = {
  echo: (event, context) => ({
    event,
    remainingMs: context.getRemainingTimeInMillis(),
    requestId: context.awsRequestId,
  }),
  environment: () => process.env,
  count: () => ({ pid: process.pid, invocations }),
  ticks: () => ticks,
  fail: () => {
    throw Object.assign(new RangeError("too deep"), { name: "RangeError" });
  },
  exit: () => process.exit(3),
  sleep: async ({ ms }) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return { slept: ms, pid: process.pid };
  },
  big: ({ bytes }) => "x".repeat(bytes),
  log: ({ text }) => {
    console.log(text);
    return null;
  },
  allocate: async ({ megabytes }) => {
    const held = [];
    for (let n = 0; n < megabytes; n += 8) {
      held.push(Buffer.alloc(8 * 1024 * 1024, 1));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return held.length;
  },
  tmp: () => {
    const before = readdirSync(tmpdir());
    writeFileSync(join(tmpdir(), "left"), "x");
    return before;
  },
};

exports.handler = async (event, context) => {
  invocations++;
  if (event.requestContext) return event;
  return actions[event.do](event, context);
};

exports.http = async (event) => {
  if (event.rawPath === "/fail") throw new Error("no");
  if (event.rawPath === "/raw") return { seen: event };
  return {
    statusCode: 201,
    headers: { "content-type": "text/plain", "x-layer": "7" },
    cookies: ["a=1", "b=2"],
    body: Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8").toString("base64"),
    isBase64Encoded: true,
  };
};

exports.consume = async ({ Records }) => {
  for (const { body } of Records) console.log(`consumed ${body}`);
  const isBad = ({ body, attributes }) => body === "bad" && attributes.ApproximateReceiveCount === "1";
  return { batchItemFailures: Records.filter(isBad).map(({ messageId }) => ({ itemIdentifier: messageId })) };
};
