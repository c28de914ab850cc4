/** A process that owns a local stack, for local-stack.test.ts to kill. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startLocalStack } from "../../scripts/local/stack.ts";
import { codeFolders, template } from "./stack-template.ts";

const stateDir = process.argv[2]!;
const ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
await startLocalStack({ stackName: "Test", template, codeFolders, stateDir, ports, scheduleEveryMs: 500 });
process.send!(JSON.parse(readFileSync(join(stateDir, "local.json"), "utf8")));
