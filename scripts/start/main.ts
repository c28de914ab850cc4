/**
 * `npm start`: the whole of Siltstone on this machine. Bundles the functions, synthesises the stack that would be
 * deployed, provisions it locally beside a provider of embeddings as `silt fake-provider` runs it, and does the main job
 * (scripts/start/main-job.ts). Stays up until Ctrl-C.
 *
 *   npm start                 state is kept in .siltstone/
 *   npm start -- --fresh      starts over with an empty .siltstone/
 *   npm start -- --once       ends after the main job; non-zero when any step failed
 *   npm start -- -c query.groups=2   with a setting (lib/contract/settings.ts), as for `cdk deploy`; may be repeated
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { awsNames, awsWorld } from "../../lib/aws/aws-world.ts";
import { jobWorld } from "../../lib/aws/job-world.ts";
import { startFakeProvider } from "../../lib/clients/fake-provider.ts";
import { functions, jobOutputs, storeOutputs } from "../../lib/contract/functions.ts";
import { settingNames } from "../../lib/contract/settings.ts";
import { requestBounds } from "../../lib/core/policy/time-bounds.ts";
import { synthesize } from "../build/synthesize.ts";
import { onParentEnd } from "../end-with-parent.ts";
import { type LocalStack, startLocalStack } from "../local/stack.ts";
import {
  ask,
  createDocumentCollection,
  dims,
  documentItems,
  headingOf,
  type Invoke,
  providersAt,
  questions,
  saveItems,
  waitForCompactor,
  waitForEmbedder,
} from "./main-job.ts";

const root = join(import.meta.dirname, "../..");
/** Also where `silt` looks for the running stack. */
const stateDir = process.env.SILTSTONE_STATE_DIR ?? join(root, ".siltstone");
/** In AWS the compactor runs every minute; a person at a laptop does not wait that long. */
const scheduleEveryMs = 5_000;
const steps = 7;

let step = 0;
async function doing<T>(what: string, work: () => Promise<T> | T, done: (result: T) => string): Promise<T> {
  step += 1;
  process.stdout.write(`[${step}/${steps}] ${what} … `);
  const started = performance.now();
  const result = await work();
  process.stdout.write(`${done(result)} (${((performance.now() - started) / 1000).toFixed(1)} s)\n`);
  return result;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      once: { type: "boolean" },
      fresh: { type: "boolean" },
      context: { type: "string", short: "c", multiple: true, default: [] },
    },
  });
  const provider = await startFakeProvider({ dims });
  const context = {
    "embedding.providers": JSON.stringify(providersAt(provider.url)),
    ...Object.fromEntries(values.context.map(contextOf)),
  };
  if (values.fresh) rmSync(stateDir, { recursive: true, force: true });
  console.log("Siltstone, on this machine: the functions and the stack that `cdk deploy` would deploy.\n");

  const synthesis = await doing(
    "Bundling the functions and synthesising the stack",
    () => synthesize("dev", join(stateDir, "cdk.out"), context),
    ({ codeFolders }) => `${Object.keys(codeFolders).length} functions`,
  );
  const stack = await doing(
    "Starting S3, SQS, DynamoDB and Lambda on 127.0.0.1",
    () => startLocalStack({ ...synthesis, stateDir, scheduleEveryMs }),
    ({ functions }) => functions.join(", "),
  );
  try {
    await mainJob(stack);
    printNext(stack, provider.url);
    if (!values.once) await untilStopped();
  } finally {
    await stack.stop();
    await provider.close();
  }
}

function contextOf(text: string): [name: string, value: string] {
  const [, name = "", value = ""] = /^([^=]*)=(.*)$/.exec(text) ?? [];
  if (!settingNames.some((known) => known === name))
    throw new Error(`-c ${text}: must be NAME=VALUE, with NAME one of ${settingNames.join(", ")}`);
  return [name, value];
}

async function mainJob(stack: LocalStack): Promise<void> {
  Object.assign(process.env, stack.environment);
  const { outputs } = stack;
  const world = awsWorld(awsNames((name) => outputs[name]!));
  const jobQueueUrls = outputs[jobOutputs.queueUrls]!.split(",");
  const jobs = jobWorld({ table: outputs[storeOutputs.table]!, jobQueueUrls }, world, requestBounds.person);
  const invoke = invoker(stack);

  const items = documentItems(root);
  const { id } = await doing(
    `Creating the collection siltstone-docs (${dims} dims, cosine, embedded by the provider on this machine)`,
    () => createDocumentCollection(world),
    ({ created }) => (created ? "created" : "there already"),
  );
  await doing(
    `Saving ${items.length} texts, README.md and docs/, as items through the producer`,
    () => saveItems(invoke, items),
    (saved) => `${saved} are new or changed`,
  );
  await doing(
    "Waiting for the embedder, which the queue has woken",
    () => waitForEmbedder(jobs.table, id, items),
    (chunks) => `${chunks} chunks embedded`,
  );
  await doing(
    `Waiting for the scheduled compactor (here every ${scheduleEveryMs / 1000} s)`,
    () => waitForCompactor(invoke, () => process.stdout.write(".")),
    (version) => `version ${version} is published`,
  );
  await doing(
    "Asking three questions through the query function",
    () => warmUp(invoke),
    (ms) => `first answer after ${ms} ms`,
  );
  for (const question of questions) printAnswer(await ask(invoke, question));
}

async function warmUp(invoke: Invoke): Promise<number> {
  const started = performance.now();
  await ask(invoke, questions[0]!);
  return Math.round(performance.now() - started);
}

function invoker(stack: LocalStack): Invoke {
  const lambda = new LambdaClient();
  return async (name, event) => {
    const response = await lambda.send(
      new InvokeCommand({ FunctionName: stack.outputs[name]!, Payload: Buffer.from(JSON.stringify(event)) }),
    );
    const payload = JSON.parse(Buffer.from(response.Payload ?? []).toString("utf8")) as Record<
      string,
      unknown
    >;
    if (response.FunctionError) throw new Error(`${name}: ${payload.errorType}: ${payload.errorMessage}`);
    return payload;
  };
}

function printAnswer({
  question,
  milliseconds,
  snapshotVersion,
  results,
}: Awaited<ReturnType<typeof ask>>): void {
  console.log(`\n? ${question}   (snapshot ${snapshotVersion}, ${milliseconds} ms in the function)`);
  for (const { score, document, metadata } of results) {
    const text = document.replace(/\s+/g, " ");
    const heading = headingOf(document);
    console.log(`  ${score.toFixed(3)}  ${metadata.file}${heading === null ? "" : ` · ${heading}`}`);
    console.log(`         ${text.length > 140 ? `${text.slice(0, 140)}…` : text}`);
  }
}

function printNext({ endpoints, outputs, environment, functionUrls }: LocalStack, providerUrl: string): void {
  const keys = Object.entries(environment).filter(([name]) => !name.startsWith("AWS_ENDPOINT"));
  const query = outputs[functions.query.output]!;
  console.log(`
The provider at ${providerUrl} is \`silt fake-provider\`: it matches words and parts of words, not meaning. Name one of your own for
that (docs/embedding.md), or bring vectors of your own model.

Try next, in another terminal:
  npx silt query siltstone-docs --text "what does a crash leave behind?"
  npx silt status
  npx silt embed-all siltstone-docs analyze
  npx silt jobs recent
  npx silt collection create mine --dims 384 --metric cosine

Or the ordinary AWS CLI:
  export ${keys.map(([name, value]) => `${name}=${value}`).join(" ")}
  aws --endpoint-url ${endpoints.s3} s3 ls s3://${outputs[storeOutputs.bucket]} --recursive
  aws --endpoint-url ${endpoints.sqs} sqs get-queue-attributes --queue-url ${outputs[storeOutputs.queueUrl]} --attribute-names All
  aws --endpoint-url ${endpoints.dynamodb} dynamodb scan --table-name ${outputs[storeOutputs.table]}
  aws --endpoint-url ${endpoints.lambda} lambda invoke --function-name ${query} --cli-binary-format raw-in-base64-out \\
    --payload '{"collection":"siltstone-docs","text":"how is garbage collected?","topK":1}' /dev/stdout
  curl -s ${functionUrls[query]} -d '{"collection":"siltstone-docs","text":"how is garbage collected?","topK":1}'
`);
}

function untilStopped(): Promise<void> {
  console.log("Running until Ctrl-C; state is kept in .siltstone/.");
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
  });
}

// Only npm ends without telling: a shell that starts this itself may leave it running on purpose. What was started ends
// with this process, however that ends (local/guardian.ts).
if (process.env.npm_lifecycle_event !== undefined) onParentEnd(() => process.exit(1));
// The terminal is gone, and with it those who read.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(`\nfailed: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
