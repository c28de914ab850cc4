/**
 * The query function with its URL: it reads the bucket and nothing else, and changes nothing.
 *
 * With query groups, that function asks the groups' functions instead: each holds the segments of its shards and may do
 * what the one query function may do without them.
 */
import type { IGrantable } from "aws-cdk-lib/aws-iam";
import {
  type FunctionUrl,
  FunctionUrlAuthType,
  type Function as LambdaFunction,
} from "aws-cdk-lib/aws-lambda";
import { Construct } from "constructs";
import { callerEnv, env } from "../contract/names.ts";
import { cacheBytes, checkOptionalSetting, checkSetting, settings } from "../contract/settings.ts";
import { functionTimeoutMs } from "../core/policy/time-bounds.ts";
import { allowKey } from "./encryption.ts";
import {
  allowing,
  type Callee,
  calleeName,
  giveRight,
  HandlerFunction,
  type StoreFunctions,
  setVariables,
} from "./handler-function.ts";
import { checkProps } from "./props.ts";
import type { Storage } from "./storage.ts";

/** One whole processor, to send questions, wait and merge answers of at most 6 MB each. */
const frontMemoryMiB = 1769;

export interface QueryOptions {
  /** @default 3008, the most that new accounts allow */
  readonly memoryMiB?: number;
  /** Local disk, for cached segments. @default 4096 */
  readonly diskMiB?: number;
  /**
   * Segment files that are kept on disk and in memory, at most half of the local disk: while views are swapped, and old ones are
   * still read, twice as much is there.
   * @default half of the memory, or half of the local disk where that is less
   */
  readonly cacheMiB?: number;
  /**
   * Functions over which the shards of a collection are spread, 1 to 48: each serves every n-th shard, and the query
   * function asks them all and merges their answers. The props above are of each of them.
   * @default 1: the query function serves all shards itself
   */
  readonly groups?: number;
  /** Seconds after which a newer snapshot is looked for, from 0 to 300. @default 5 */
  readonly refreshSeconds?: number;
  /** Of each function. @default none: they share the account's concurrency */
  readonly reservedConcurrency?: number;
  /**
   * Processes of each function that are kept started, at most its reserved concurrency; callers then invoke its alias `live`.
   * @default none
   */
  readonly provisionedConcurrency?: number;
}
const queryProps = {
  memoryMiB: true,
  diskMiB: true,
  cacheMiB: true,
  groups: true,
  refreshSeconds: true,
  reservedConcurrency: true,
  provisionedConcurrency: true,
} as const satisfies Record<keyof QueryOptions, true>;

export interface QueryProps {
  readonly storage: Storage;
  readonly environment: Readonly<Record<string, string>>;
  readonly functions: StoreFunctions;
  readonly options: QueryOptions;
}

export class Query extends Construct {
  readonly function: LambdaFunction;
  /** What callers invoke: the function, or, with provisioned concurrency, its alias. */
  readonly callee: Callee;
  readonly url: FunctionUrl;
  /** The functions of the query groups, in order; none without groups. */
  readonly groupFunctions: readonly LambdaFunction[];
  /** The variables that name the query function, for callers that are no function of this app. */
  readonly environment: Readonly<Record<string, string>>;

  constructor(scope: Construct, id: string, { storage, environment, functions, options }: QueryProps) {
    super(scope, id);
    checkProps("query", options, queryProps);
    const { bucket, bucketKey } = storage;
    const { memoryMiB, diskMiB, cacheMiB, refreshSeconds, groups } = sizesOf(options);
    const shared = {
      functions,
      name: "query",
      timeoutSeconds: functionTimeoutMs.query / 1000,
      ...concurrencyOf(options),
    } as const;
    const reading = (id: string, description?: string): HandlerFunction => {
      const query = new HandlerFunction(this, id, {
        ...shared,
        ...(description === undefined ? {} : { description }),
        memoryMiB,
        diskMiB,
        environment: {
          ...environment,
          [settings["query.refreshSeconds"].variable]: String(refreshSeconds),
          [cacheBytes.variable]: String(cacheMiB * 1024 * 1024),
        },
      });
      query.allow(["s3:GetObject"], [bucket.arnForObjects("*")]);
      query.allow(["s3:ListBucket"], [bucket.bucketArn]);
      allowKey(query.function, bucketKey, "readObjects");
      return query;
    };
    const asking = (id: string, asked: readonly Callee[]): HandlerFunction => {
      const query = new HandlerFunction(this, id, {
        ...shared,
        description: `Siltstone query: asks ${groups} query groups and merges their answers`,
        memoryMiB: frontMemoryMiB,
        environment: { ...environment, [env.groupFunctions]: asked.map(calleeName).join(",") },
      });
      const named = ["*/collection.json", "*/alias.json"].map((path) => bucket.arnForObjects(path));
      query.allow(["s3:GetObject"], named);
      query.allow(["s3:ListBucket"], [bucket.bucketArn]);
      query.allow(
        ["lambda:InvokeFunction"],
        asked.map(({ functionArn }) => functionArn),
      );
      allowKey(query.function, bucketKey, "readObjects");
      return query;
    };
    const all = Array.from({ length: groups > 1 ? groups : 0 }, (_, group) =>
      reading(`Group${group}`, `Siltstone query group ${group} of ${groups}: answers from cached segments`),
    );
    this.groupFunctions = all.map((group) => group.function);
    const query =
      groups > 1
        ? asking(
            "Query",
            all.map(({ callee }) => callee),
          )
        : reading("Query");
    this.function = query.function;
    this.callee = query.callee;
    this.url = this.callee.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM });
    this.environment = { [callerEnv.queryFunction]: calleeName(this.callee) };
  }

  /** Lets the grantee invoke the query function, directly and over its URL, and tells a function the name. */
  grantQuery(grantee: IGrantable): void {
    // A function URL needs both actions.
    const actions = ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"];
    giveRight(grantee, allowing(actions, [this.callee.functionArn]));
    setVariables(grantee, this.environment);
  }
}

function sizesOf(options: QueryOptions) {
  const memoryMiB = checkSetting("query.memoryMiB", options.memoryMiB);
  const diskMiB = checkSetting("query.diskMiB", options.diskMiB);
  // Half of the memory and of the disk: a new view is built beside the old one before they are swapped.
  const cacheMiBMax = Math.floor(diskMiB / 2);
  const derivedMiB = Math.floor(Math.min(memoryMiB / 2, cacheMiBMax));
  const cacheMiB = checkSetting("query.cacheMiB", options.cacheMiB ?? derivedMiB);
  if (cacheMiB > cacheMiBMax) {
    throw new Error(
      `query.cacheMiB: must be at most ${cacheMiBMax}, half of the function's local disk of ${diskMiB} MiB, got ${cacheMiB}`,
    );
  }
  const refreshSeconds = checkSetting("query.refreshSeconds", options.refreshSeconds);
  const groups = checkSetting("query.groups", options.groups);
  return { memoryMiB, diskMiB, cacheMiB, refreshSeconds, groups };
}

function concurrencyOf(options: QueryOptions) {
  const reserved = checkOptionalSetting("query.reservedConcurrency", options.reservedConcurrency);
  const provisioned = checkOptionalSetting("query.provisionedConcurrency", options.provisionedConcurrency);
  if (reserved !== undefined && provisioned !== undefined && provisioned > reserved)
    throw new Error(
      `query.provisionedConcurrency: must be at most query.reservedConcurrency, ${reserved}, got ${provisioned}`,
    );
  return { reservedConcurrency: reserved, provisionedConcurrency: provisioned };
}
