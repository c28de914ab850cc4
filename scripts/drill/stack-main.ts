/** The local stack in a process of its own, which the drill can kill whole. Answers which processes it runs. */
import { readFileSync } from "node:fs";
import { type FunctionName, functions } from "../../lib/contract/functions.ts";
import type { Synthesis } from "../build/synthesize.ts";
import { type LocalStack, type LocalStackOptions, type Ports, startLocalStack } from "../local/stack.ts";

export interface StackSettings {
  /** JSON file of a Synthesis: made once, used by every start. */
  readonly synthesisFile: string;
  readonly stateDir: string;
  readonly ports: Ports;
  readonly scheduleEveryMs: number | null;
}
export interface StackStarted {
  readonly kind: "started";
  readonly environment: LocalStack["environment"];
  readonly endpoints: LocalStack["endpoints"];
  readonly outputs: LocalStack["outputs"];
}
export interface StackPids {
  readonly kind: "pids";
  readonly servers: Readonly<Record<"s3" | "sqs" | "dynamodb", number | null>>;
  readonly functions: Readonly<Record<FunctionName, readonly number[]>>;
}
export type StackMessage = StackStarted | StackPids | { readonly kind: "failed"; readonly reason: string };

const { synthesisFile, stateDir, ports, scheduleEveryMs } = JSON.parse(process.argv[2]!) as StackSettings;
const say = (message: StackMessage) => process.send?.(message);

async function main(): Promise<void> {
  const { stackName, template, codeFolders } = JSON.parse(readFileSync(synthesisFile, "utf8")) as Synthesis;
  const options: LocalStackOptions = { stackName, template, codeFolders, stateDir, ports, scheduleEveryMs };
  const stack = await startLocalStack(options);
  process.on("message", (message) => {
    if (message === "pids") say(pidsOf(stack));
    else void stack.stop().then(() => process.exit(0));
  });
  // The drill is gone; nothing here may outlive it.
  const end = () => void stack.stop().then(() => process.exit(0));
  process.once("disconnect", end);
  if (!process.connected) end();
  const { environment, endpoints, outputs } = stack;
  say({ kind: "started", environment, endpoints, outputs });
}

function pidsOf(stack: LocalStack): StackPids {
  const pidsOfFunction = (name: string) => stack.lambda.function(name).pids;
  const sandboxes = (role: FunctionName) => pidsOfFunction(stack.outputs[functions[role].output]!);
  const groups = stack.functions.filter((name) => name.includes("QueryGroup"));
  return {
    kind: "pids",
    servers: {
      s3: stack.pid("s3") ?? null,
      sqs: stack.pid("sqs") ?? null,
      dynamodb: stack.pid("dynamodb") ?? null,
    },
    functions: {
      producer: sandboxes("producer"),
      compactor: sandboxes("compactor"),
      query: [...sandboxes("query"), ...groups.flatMap(pidsOfFunction)],
      collections: sandboxes("collections"),
      // The drill's store has no items.
      embedder: [],
    },
  };
}

main().catch((error) => {
  say({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
  process.disconnect?.();
});
