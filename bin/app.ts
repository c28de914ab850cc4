/**
 * The CDK app: `cdk deploy -c stage=NAME [-c architecture=arm64] [-c queryGroups=N]`. One stack per stage, in
 * whatever account and region the caller's credentials name.
 */
import { App } from "aws-cdk-lib";
import { isStage, stageRule } from "../lib/contract/names.ts";
import { addStack } from "../scripts/build/synthesize.ts";

/** Run by the CDK command line, which passes the context and the output folder in the environment. */
export async function main(): Promise<void> {
  try {
    const app = new App();
    // The context may hold anything: without this, a misnamed stage would deploy dev.
    const misnamed = app.node.tryGetContext("env");
    if (misnamed !== undefined)
      throw new Error(`-c env=…: the stage is said with -c stage=…, got ${JSON.stringify(misnamed)}`);
    const stage: unknown = app.node.tryGetContext("stage") ?? "dev";
    if (typeof stage !== "string" || !isStage(stage))
      throw new Error(`-c stage=… is ${stageRule}, got ${JSON.stringify(stage)}`);
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
