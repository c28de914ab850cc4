/**
 * What `cdk -c key=value` says of the stack: `stage`, `architecture`, `storage.bucket`, and every setting of the contract by its name, as
 * `-c query.groups=4`. A key that is not known is an error: a mistyped one would deploy something else than was meant.
 */
import type { App } from "aws-cdk-lib";
import { isStage, stageRule } from "../../lib/contract/names.ts";
import { type SettingName, settingNames } from "../../lib/contract/settings.ts";

/** A bucket that is there already, by its name. */
const bucketKey = "storage.bucket";
/** As JSON, by provider: the keys of docs/embedding.md, "Providers". */
const providersKey = "embedding.providers";
export const ownKeys: readonly string[] = ["stage", "architecture", bucketKey, providersKey, ...settingNames];

/** The CDK's: feature flags, look-ups (`vpc-provider:…`), and what its command line keeps. */
const cdkKeys = /^@|[:/]|^cli-telemetry$|^acknowledged-issue-numbers$/;

export type Parts = Partial<Record<string, Record<string, number>>>;

export interface AppContext {
  readonly stage: string;
  readonly architecture: "x64" | "arm64";
  /** Name of a bucket that is there already; null: the store gets one of its own. */
  readonly bucket: string | null;
  /** As they were given; null: none were. Their keys are the construct's to check. */
  readonly providers: Readonly<Record<string, Readonly<Record<string, unknown>>>> | null;
  /** The settings that were given, by part and name: props of the store. Their ranges are the construct's to check. */
  readonly parts: Parts;
}

/** Throws an error that names the key, its range and the value. */
export function contextOf(app: App): AppContext {
  const context = app.node.getAllContext() as Readonly<Record<string, unknown>>;
  const unknown = Object.keys(context).filter((key) => !ownKeys.includes(key) && !cdkKeys.test(key));
  if (unknown.length > 0)
    throw new Error(`-c ${unknown.join(", ")}: no such key; known are ${ownKeys.join(", ")}`);
  const { stage = "dev", architecture = "x64", [bucketKey]: bucket = null } = context;
  if (typeof stage !== "string" || !isStage(stage))
    throw new Error(`-c stage=… is ${stageRule}, got ${JSON.stringify(stage)}`);
  if (architecture !== "x64" && architecture !== "arm64")
    throw new Error(`-c architecture=… is one of x64, arm64, got ${JSON.stringify(architecture)}`);
  if (bucket !== null && (typeof bucket !== "string" || bucket === ""))
    throw new Error(`-c ${bucketKey}=… is a bucket's name, got ${JSON.stringify(bucket)}`);
  const parts: Parts = {};
  for (const name of settingNames) {
    if (context[name] === undefined) continue;
    const [part, setting] = name.split(".") as [string, string];
    parts[part] = { ...parts[part], [setting]: numberOf(name, context[name]) };
  }
  return { stage, architecture, bucket, providers: providersOf(context[providersKey] ?? null), parts };
}

function providersOf(given: unknown): AppContext["providers"] {
  if (given === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(String(given));
  } catch {
    value = null;
  }
  const isObject = (one: unknown) => typeof one === "object" && one !== null && !Array.isArray(one);
  if (isObject(value) && Object.values(value as object).every(isObject))
    return value as AppContext["providers"];
  throw new Error(`-c ${providersKey}=… is a JSON object of providers, each an object`);
}

function numberOf(name: SettingName, given: unknown): number {
  const value = typeof given === "string" && given.trim() === "" ? Number.NaN : Number(given);
  if (Number.isNaN(value)) throw new Error(`-c ${name}=… is a number, got ${JSON.stringify(given)}`);
  return value;
}
