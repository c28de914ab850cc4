/**
 * What a command acts upon: the local stack, or a deployed store. Both are found by their stack outputs, and reached
 * through the same AWS SDK clients; only the endpoints differ.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type AwsAccess, accessTo, ownAccess } from "../../lib/aws/access.ts";
import { type AwsNames, awsNames, awsWorld } from "../../lib/aws/aws-world.ts";
import { S3BucketFiles } from "../../lib/aws/bucket-files.ts";
import { embeddingWorld } from "../../lib/aws/embedding-world.ts";
import { FunctionCaller } from "../../lib/aws/function-caller.ts";
import { type FunctionConfiguration, functionConfiguration } from "../../lib/aws/function-configuration.ts";
import { CloudWatchFunctionLogs, type FunctionLogs } from "../../lib/aws/function-logs.ts";
import { jobWorld } from "../../lib/aws/job-world.ts";
import { s3Client } from "../../lib/aws/s3-client.ts";
import { s3CopyAcross } from "../../lib/aws/s3-copy-across.ts";
import { S3DeletedObjects } from "../../lib/aws/s3-deleted-objects.ts";
import { type HeldMessages, SqsHeldMessages } from "../../lib/aws/sqs-held-messages.ts";
import { stackOutputs } from "../../lib/aws/stack-outputs.ts";
import { type StoreAlarm, storeAlarms } from "../../lib/aws/store-alarms.ts";
import {
  type FunctionName,
  functionNames,
  functions,
  isAlwaysThere,
  jobOutputs,
  storeOutputs,
} from "../../lib/contract/functions.ts";
import { env } from "../../lib/contract/names.ts";
import { invalid, isKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { requestBounds } from "../../lib/core/policy/time-bounds.ts";
import type { EmbeddingWorld } from "../../lib/embedding/profile-embedders.ts";
import { parseProviders } from "../../lib/embedding/provider-access.ts";
import type { CopyAcross } from "../../lib/engine/operate/promote-files.ts";
import type { DeletedObjects, World } from "../../lib/engine/ports.ts";
import type { BucketFiles } from "../../lib/import/inputs.ts";
import type { JobWorld } from "../../lib/jobs/save.ts";
import { LocalFunctionLogs } from "./local-logs.ts";
import type { StoreChoice } from "./store-choice.ts";

export interface Deployment {
  /** The stage of a deployed store, `local`, or what `--stack` was given. */
  readonly stage: string;
  readonly world: World;
  /** What was deleted from its bucket. */
  readonly deleted: DeletedObjects;
  readonly deadLetters: HeldMessages;
  /** Events that did not reach the compactor, or whose run failed. Throws of a store that was deployed before it told of them. */
  failedEvents(): HeldMessages;
  /** Items and jobs. Throws `invalid` for a store that embeds none. */
  jobs(): JobsDeployment;
  /** Its providers of embeddings, by their keys as you may read them, and its limits. */
  embedding(): Promise<EmbeddingWorld>;
  /** What lies in any bucket, for import and export. */
  readonly bucketFiles: BucketFiles;
  /** One of the functions as it is deployed; with query groups, of them as well, after the function before them. */
  configurations(of: FunctionName): Promise<readonly FunctionConfiguration[]>;
  readonly logs: FunctionLogs;
  /** CloudWatch's alarms over this store; null of the local stack, which has no CloudWatch. */
  alarms(): Promise<readonly StoreAlarm[] | null>;
  /** Its bucket, and where that is; null: as the environment says. */
  readonly place: { readonly bucket: string; readonly endpoint: string | null };
  /** Copies objects of another store's bucket into this one's, in S3; null where they are not in one S3. */
  copyFrom(other: Deployment): CopyAcross | null;
  /** Invokes one of the functions. Throws what the function threw. */
  call(called: FunctionName, event: object): Promise<unknown>;
}
export interface JobsDeployment extends JobWorld {
  /** Of the job queues. */
  readonly deadLetters: HeldMessages;
}
export type Connect = (store: StoreChoice) => Promise<Deployment>;

/** Folder of the local stack's state; `npm start` keeps it in the project. */
const stateDirVariable = "SILTSTONE_STATE_DIR";
const defaultStateDir = join(import.meta.dirname, "../../.siltstone");

/** `localUser`: who asks the local stack, by the key that it knows them by. */
export const connect = async (store: StoreChoice, localUser = "local"): Promise<Deployment> => {
  const { name: stage, stack } = store;
  const { outputs, access } =
    stack === null ? localStack(store, localUser) : await deployedStack(stack, store);
  const name = (key: string): string => {
    const value = outputs[key];
    if (value) return value;
    throw new SiltstoneError("unavailable", `${stage}: its stack has no output ${key}; deploy it again`);
  };
  const names = awsNames(name);
  const place = { bucket: names.bucket, endpoint: access.endpoints?.s3 ?? null };
  const caller = new FunctionCaller(access);
  const s3 = s3Client(requestBounds.person, accessTo("s3", access));
  return {
    stage,
    world: awsWorld(names, requestBounds.person, access),
    deleted: new S3DeletedObjects(s3, names.bucket),
    deadLetters: new SqsHeldMessages(names.deadLetterQueueUrl, access),
    failedEvents: () => new SqsHeldMessages(name(storeOutputs.failedEventsQueueUrl), access),
    jobs: () => jobsOf(names, outputs, access),
    embedding: async () => {
      const { variables } = await functionConfiguration(name(functions.query.output), access);
      const providers = parseProviders(variables, variables[env.stage] ?? stage);
      return embeddingWorld(providers, names.table, access);
    },
    bucketFiles: new S3BucketFiles(s3),
    configurations: async (of) => {
      const { output } = functions[of];
      return outputs[output] || isAlwaysThere(of) ? configurationsOf(name(output), access) : [];
    },
    logs: stack === null ? new LocalFunctionLogs(localStateDir(store)) : new CloudWatchFunctionLogs(),
    alarms: async () => (stack === null ? null : storeAlarms(await watchedNames(name, outputs, access))),
    place,
    copyFrom: (other) =>
      other.place.endpoint === place.endpoint
        ? s3CopyAcross(s3, { from: other.place.bucket, to: place.bucket })
        : null,
    call: (called, event) =>
      caller.call(name(functions[called].output), event, { writes: functions[called].writes }),
  };
};

function jobsOf(
  names: AwsNames,
  outputs: Readonly<Record<string, string>>,
  access: AwsAccess,
): JobsDeployment {
  const { [jobOutputs.queueUrls]: urls, [jobOutputs.deadLetterQueueUrl]: deadLetterQueueUrl } = outputs;
  if (!urls || !deadLetterQueueUrl)
    throw invalid("this store embeds no items: deploy it with the prop `embedding` (docs/jobs.md)");
  const world = awsWorld(names, requestBounds.person, access);
  return {
    ...jobWorld({ table: names.table, jobQueueUrls: urls.split(",") }, world, requestBounds.person, access),
    deadLetters: new SqsHeldMessages(deadLetterQueueUrl, access),
  };
}

/** What the dimensions of alarms name. */
async function watchedNames(
  output: (key: string) => string,
  outputs: Readonly<Record<string, string>>,
  access: AwsAccess,
): Promise<ReadonlySet<string>> {
  const there = functionNames.filter((one) => isAlwaysThere(one) || outputs[functions[one].output]);
  const all = await Promise.all(there.map((one) => configurationsOf(output(functions[one].output), access)));
  const { queueUrl, deadLetterQueueUrl, failedEventsQueueUrl } = storeOutputs;
  const ofJobs = outputs[jobOutputs.deadLetterQueueUrl] ? [jobOutputs.deadLetterQueueUrl] : [];
  const queues = [queueUrl, deadLetterQueueUrl, failedEventsQueueUrl, ...ofJobs].map(
    (key) => output(key).split("/").at(-1)!,
  );
  return new Set([
    ...all.flat().flatMap(({ name, variables }) => [name, variables[env.store] ?? name]),
    ...queues,
    output(storeOutputs.bucket),
    output(storeOutputs.table),
  ]);
}

async function configurationsOf(functionName: string, access: AwsAccess): Promise<FunctionConfiguration[]> {
  const own = await functionConfiguration(functionName, access);
  const groups = own.variables[env.groupFunctions]?.split(",").filter((name) => name !== "") ?? [];
  return [own, ...(await Promise.all(groups.map((group) => functionConfiguration(group, access))))];
}

interface FoundStack {
  readonly outputs: Readonly<Record<string, string>>;
  readonly access: AwsAccess;
}

async function deployedStack(stack: string, { deployment, profile }: StoreChoice): Promise<FoundStack> {
  const access = profile === undefined ? ownAccess : { profile };
  try {
    return { outputs: await stackOutputs(stack, storeOutputs.bucket, access), access };
  } catch (error) {
    if (!isKind(error, "notFound")) throw error;
    throw new SiltstoneError(
      "notFound",
      `${error.message}; if it is in another region say so (AWS_REGION=…), else deploy it with ${deployment}`,
      { cause: error.cause },
    );
  }
}

/** What the CLI reads of the local stack's local.json. */
interface LocalState {
  readonly pid: number;
  readonly region: string;
  readonly endpoints: Readonly<Record<"s3" | "sqs" | "dynamodb" | "lambda", string>>;
  readonly outputs: Readonly<Record<string, string>>;
}

const localStateDir = ({ stateDir }: StoreChoice): string =>
  stateDir ?? process.env[stateDirVariable] ?? defaultStateDir;

/** Real credentials have no business with the local stack; what else a command asks of AWS (import) keeps them. */
function localStack(store: StoreChoice, localUser: string): FoundStack {
  const { region, endpoints, outputs } = readLocalState(store);
  const credentials = { accessKeyId: localUser, secretAccessKey: "local" };
  return { outputs, access: { region, endpoints, credentials } };
}

function readLocalState(store: StoreChoice): LocalState {
  const path = join(localStateDir(store), "local.json");
  const notRunning = (why: string): SiltstoneError =>
    new SiltstoneError(
      "unavailable",
      `the local stack is not running (${why}); start it with ${store.deployment}`,
    );
  let state: LocalState;
  try {
    state = JSON.parse(readFileSync(path, "utf8")) as LocalState;
  } catch {
    throw notRunning(`${path} is not there`);
  }
  if (isAlive(state.pid)) return state;
  throw notRunning(`its process ${state.pid} has ended`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
