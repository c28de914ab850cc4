/**
 * The query function with its URL: it reads the bucket and nothing else, and changes nothing.
 *
 * With query groups, that function asks the groups' functions instead: each holds the segments of its shards and may do
 * what the one query function may do without them.
 */
import {
  type Architecture,
  type FunctionUrl,
  FunctionUrlAuthType,
  type Function as LambdaFunction,
} from "aws-cdk-lib/aws-lambda";
import { Construct } from "constructs";
import { callerEnv, env, groupFunctionsEnv, queryGroupsMax, type Stage } from "../contract.ts";
import { functionTimeoutMs } from "../core/time-bounds.ts";
import { allowing, HandlerFunction } from "./handler-function.ts";
import type { Storage } from "./storage.ts";

const memoryMiBDefault = 3008;
const storageMiBDefault = 4096;
const refreshSecondsMax = 300;
/** One whole processor, to send questions, wait and merge answers of at most 6 MB each. */
const frontMemoryMiB = 1769;

export interface QueryProps {
  readonly stage: Stage;
  readonly storage: Storage;
  readonly environment: Readonly<Record<string, string>>;
  readonly codeFolder: string;
  readonly architecture: Architecture;
  /** @default 3008, the most that new accounts allow */
  readonly memoryMiB?: number | undefined;
  /** Local disk for cached segments. @default 4096 */
  readonly storageMiB?: number | undefined;
  /** @default half the memory, or half the local disk where that is less */
  readonly cacheMiB?: number | undefined;
  /** @default 5 */
  readonly refreshSeconds?: number | undefined;
  /** Of each function. @default none */
  readonly reservedConcurrency?: number | undefined;
  /** @default 1: the query function reads all shards itself */
  readonly groups?: number | undefined;
}

export class Query extends Construct {
  readonly function: LambdaFunction;
  readonly url: FunctionUrl;
  /** The functions of the query groups, in order; none without groups. */
  readonly groupFunctions: readonly LambdaFunction[];

  constructor(scope: Construct, id: string, props: QueryProps) {
    super(scope, id);
    const { bucket } = props.storage;
    const memoryMiB = props.memoryMiB ?? memoryMiBDefault;
    const storageMiB = props.storageMiB ?? storageMiBDefault;
    // Half of the memory and of the disk: a new view is built beside the old one before they are swapped.
    const cacheMiBMax = Math.floor(storageMiB / 2);
    const cacheMiB = props.cacheMiB ?? Math.floor(Math.min(memoryMiB / 2, cacheMiBMax));
    if (!Number.isInteger(cacheMiB) || cacheMiB < 1 || cacheMiB > cacheMiBMax) {
      throw new Error(
        `queryCacheMiB: must be an integer from 1 to ${cacheMiBMax}, half of the function's local disk of ${storageMiB} MiB, got ${cacheMiB}`,
      );
    }
    const refreshSeconds = props.refreshSeconds ?? 5;
    if (!Number.isInteger(refreshSeconds) || refreshSeconds < 0 || refreshSeconds > refreshSecondsMax) {
      throw new Error(
        `refreshSeconds: must be an integer from 0 to ${refreshSecondsMax}, got ${refreshSeconds}`,
      );
    }
    const groups = props.groups ?? 1;
    if (!Number.isInteger(groups) || groups < 1 || groups > queryGroupsMax)
      throw new Error(`queryGroups: must be an integer from 1 to ${queryGroupsMax}, got ${groups}`);
    const shared = {
      stage: props.stage,
      codeFolder: props.codeFolder,
      architecture: props.architecture,
      timeoutSeconds: functionTimeoutMs.query / 1000,
      reservedConcurrency: props.reservedConcurrency,
    };
    const reading = (id: string, description: string): LambdaFunction => {
      const query = new HandlerFunction(this, id, {
        ...shared,
        description,
        memoryMiB,
        storageMiB,
        environment: {
          ...props.environment,
          [env.refreshSeconds]: String(refreshSeconds),
          [env.cacheBytesMax]: String(cacheMiB * 1024 * 1024),
        },
      });
      query.allow(["s3:GetObject"], [bucket.arnForObjects("*")]);
      query.allow(["s3:ListBucket"], [bucket.bucketArn]);
      return query.function;
    };
    const asking = (id: string): LambdaFunction => {
      const names = this.groupFunctions.map(({ functionName }) => functionName);
      const query = new HandlerFunction(this, id, {
        ...shared,
        description: `Siltstone query: asks ${groups} query groups and merges their answers`,
        memoryMiB: frontMemoryMiB,
        environment: { ...props.environment, [groupFunctionsEnv]: names.join(",") },
      });
      query.allow(["s3:GetObject"], [bucket.arnForObjects("*/collection.json")]);
      query.allow(["s3:ListBucket"], [bucket.bucketArn]);
      query.allow(
        ["lambda:InvokeFunction"],
        this.groupFunctions.map(({ functionArn }) => functionArn),
      );
      return query.function;
    };
    this.groupFunctions = Array.from({ length: groups > 1 ? groups : 0 }, (_, group) =>
      reading(`Group${group}`, `Siltstone query group ${group} of ${groups}: answers from cached segments`),
    );
    this.function =
      groups > 1 ? asking("Query") : reading("Query", "Siltstone query: answers from cached segments");
    this.url = this.function.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM });
  }

  /** Lets a function invoke the query function, directly and over its URL, and tells it the name. */
  grantQuery(caller: LambdaFunction): void {
    // A function URL needs both actions.
    const actions = ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"];
    caller.addToRolePolicy(allowing(actions, [this.function.functionArn]));
    caller.addEnvironment(callerEnv.queryFunction, this.function.functionName);
  }
}
