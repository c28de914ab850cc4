/**
 * The environment variables of the functions (lib/contract/names.ts `env`), parsed once into a complete value. Every function
 * gets all the names; a missing or wrong one fails at start, with the variable, the range and the value named.
 */
import { env, isStage, stageRule } from "../contract/names.ts";
import { cacheBytes, settings } from "../contract/settings.ts";
import { invalid, type Problem } from "../core/model/errors.ts";

export interface Environment {
  readonly stage: string;
  readonly store: string;
  readonly bucket: string;
  readonly table: string;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
  /** Seconds after which a cached view re-checks its pointer. */
  readonly refreshSeconds: number;
  /** Bytes of segment files kept on disk and in memory. */
  readonly cacheBytesMax: number;
  /** Names of the query groups' functions, where this function asks them. @default none */
  readonly groupFunctions: readonly string[];
  /** URLs of the job queues, from the highest priority. @default none: the store has no items */
  readonly jobQueueUrls: readonly string[];
  /** @default empty: this function does not work on jobs */
  readonly jobDeadLetterQueueUrl: string;
  /** Name of the embedder function. @default empty: this function may not call it */
  readonly embedderFunction: string;
}

interface NumberVariable {
  readonly variable: string;
  readonly min: number;
  readonly max: number;
  readonly default: number;
}

type Variables = Readonly<Record<string, string | undefined>>;

export function parseEnvironment(variables: Variables): Environment {
  const problems: Problem[] = [];
  const read = reader(variables, problems);
  const environment: Environment = {
    stage: read.passing(env.stage, isStage, stageRule),
    store: read.matching(env.store, /^[!-9;-~][ -~]{0,254}$/, "1 to 255 printable ASCII characters"),
    bucket: read.matching(
      env.bucket,
      /^(?!.*\.\.)(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/,
      "a bucket name (3 to 63 of a-z 0-9 . -)",
    ),
    table: read.matching(
      env.table,
      /^[A-Za-z0-9_.-]{3,255}$/,
      "a table name (3 to 255 of A-Z a-z 0-9 _ . -)",
    ),
    queueUrl: read.url(env.queueUrl),
    deadLetterQueueUrl: read.url(env.deadLetterQueueUrl),
    refreshSeconds: read.setting(settings["query.refreshSeconds"]),
    cacheBytesMax: read.setting(cacheBytes),
    groupFunctions: read.names(env.groupFunctions, settings["query.groups"].max),
    jobQueueUrls: read.jobQueues(env.jobQueueUrls),
    embedderFunction: read.names(env.embedderFunction, 1)[0] ?? "",
    jobDeadLetterQueueUrl: variables[env.jobDeadLetterQueueUrl] ? read.url(env.jobDeadLetterQueueUrl) : "",
  };
  if (problems.length === 0) return environment;
  const list = problems.map(({ field, reason }) => `${field} ${reason}`).join("; ");
  throw invalid(`environment: ${list}`, problems);
}

/** Nobody's name or password, and nothing that a URL would be made of by mending it. */
const queueUrlPattern = /^https?:\/\/[\w.:[\]-]{1,255}\/[\w./-]{1,255}$/;
/** With an alias where processes are kept started. */
const functionNamePattern = /^[\w-]{1,64}(:[\w-]{1,128})?$/;

/** Reads variables one by one and collects what is wrong; what a faulty variable gives is never used. */
function reader(variables: Variables, problems: Problem[]) {
  const wrong = (field: string, expected: string): void => {
    const value = variables[field];
    problems.push({
      field,
      reason: `must be ${expected}, ${value ? `got ${JSON.stringify(value)}` : "but is not set"}`,
    });
  };
  const passing = (field: string, test: (value: string) => boolean, expected: string): string => {
    const value = variables[field] ?? "";
    if (!test(value)) wrong(field, expected);
    return value;
  };
  const matching = (field: string, pattern: RegExp, expected: string): string =>
    passing(field, (value) => pattern.test(value), expected);
  const isQueueUrl = (value: string): boolean => queueUrlPattern.test(value) && URL.canParse(value);
  return {
    passing,
    matching,
    url: (field: string): string => passing(field, isQueueUrl, "a queue URL (https://…/…)"),
    jobQueues(field: string): string[] {
      const urls = (variables[field] ?? "").split(",").filter((url) => url !== "");
      const isWhole = urls.length === 0 || (urls.length === 3 && urls.every(isQueueUrl));
      if (!isWhole) wrong(field, "three queue URLs (https://…/…) separated by commas");
      return urls;
    },
    names(field: string, max: number): string[] {
      const text = variables[field] ?? "";
      const names = text === "" ? [] : text.split(",");
      if (!names.every((name) => functionNamePattern.test(name)) || new Set(names).size < names.length)
        wrong(
          field,
          "different names of functions (1 to 64 of A-Z a-z 0-9 _ -, perhaps :ALIAS) separated by commas",
        );
      else if (names.length > max) wrong(field, `at most ${max} names separated by commas`);
      return names;
    },
    setting({ variable, min, max, default: unset }: NumberVariable): number {
      const text = variables[variable];
      if (text === undefined || text === "") return unset;
      const value = Number(text);
      if (!(/^\d{1,15}$/.test(text) && value >= min && value <= max))
        wrong(variable, `an integer from ${min} to ${max}`);
      return value;
    },
  };
}
