/**
 * The CDK app: `cdk deploy -c env=dev|staging|prod [-c architecture=arm64] [-c queryGroups=N]`. One stack per stage, in
 * whatever account and region the caller's credentials name.
 */
import { App } from "aws-cdk-lib";
import { stages } from "../lib/contract/names.ts";
import { addStack } from "../scripts/build/synthesize.ts";

/** Run by the CDK command line, which passes the context and the output folder in the environment. */
export async function main(): Promise<void> {
  try {
    const app = new App();
    const stage = oneOf("env", app.node.tryGetContext("env") ?? "dev", stages);
    const architecture = oneOf("architecture", app.node.tryGetContext("architecture") ?? "x64", [
      "x64",
      "arm64",
    ] as const);
    await addStack(app, stage, architecture);
    app.synth();
  } catch (error) {
    console.error(`siltstone: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}

function oneOf<T extends string>(name: string, value: unknown, known: readonly T[]): T {
  const found = known.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw new Error(`-c ${name}=… is one of ${known.join(", ")}, got ${JSON.stringify(value)}`);
}
