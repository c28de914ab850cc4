/**
 * The CDK app: `cdk deploy -c stage=NAME [-c architecture=arm64] [-c query.groups=N …]`. One stack per stage, in
 * whatever account and region the caller's credentials name.
 */
import { App } from "aws-cdk-lib";
import { contextOf } from "../scripts/build/context.ts";
import { addStack } from "../scripts/build/synthesize.ts";

/** Run by the CDK command line, which passes the context and the output folder in the environment. */
export async function main(): Promise<void> {
  try {
    const app = new App();
    await addStack(app, contextOf(app).architecture);
    app.synth();
  } catch (error) {
    console.error(`siltstone: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
