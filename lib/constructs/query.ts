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
import { functions } from "../contract/functions.ts";
import { callerEnv, env } from "../contract/names.ts";
import { checkSetting, settings } from "../contract/settings.ts";
import { functionTimeoutMs } from "../core/policy/time-bounds.ts";
import { allowing, HandlerFunction } from "./handler-function.ts";
import type { Storage } from "./storage.ts";

/** One whole processor, to send questions, wait and merge answers of at most 6 MB each. */
const frontMemoryMiB = 1769;

export interface QueryProps {
  readonly stage: string;
  readonly storage: Storage;
  readonly environment: Readonly<Record<string, string>>;
  readonly codeFolder: string;
  readonly architecture: Architecture;
  readonly memoryMiB?: number | undefined;
  readonly storageMiB?: number | undefined;
  readonly cacheMiB?: number | undefined;
  readonly refreshSeconds?: number | undefined;
  /** Of each function. @default none */
  readonly reservedConcurrency?: number | undefined;
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
    const memoryMiB = checkSetting("queryMemoryMiB", props.memoryMiB);
    const storageMiB = checkSetting("queryStorageMiB", props.storageMiB);
    // Half of the memory and of the disk: a new view is built beside the old one before they are swapped.
    const cacheMiBMax = Math.floor(storageMiB / 2);
    const derivedMiB = Math.floor(Math.min(memoryMiB / 2, cacheMiBMax));
    const cacheMiB = checkSetting("queryCacheMiB", props.cacheMiB ?? derivedMiB);
    if (cacheMiB > cacheMiBMax) {
      throw new Error(
        `queryCacheMiB: must be at most ${cacheMiBMax}, half of the function's local disk of ${storageMiB} MiB, got ${cacheMiB}`,
      );
    }
    const refreshSeconds = checkSetting("refreshSeconds", props.refreshSeconds);
    const groups = checkSetting("queryGroups", props.groups);
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
          [settings.refreshSeconds.variable]: String(refreshSeconds),
          [settings.cacheBytesMax.variable]: String(cacheMiB * 1024 * 1024),
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
        environment: { ...props.environment, [env.groupFunctions]: names.join(",") },
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
    this.function = groups > 1 ? asking("Query") : reading("Query", functions.query.description);
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
