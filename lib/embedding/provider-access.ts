/**
 * How a stage reaches its providers: endpoints, secrets, rates and the models that it approves. It is configuration of the
 * stage (constructs' prop `embedding` → one environment variable), parsed once, strictly; a collection has none of it.
 */
import { env, stageKindOf } from "../contract/names.ts";
import { type ProviderName, providers } from "../core/model/embedding-profile.ts";
import { invalid, type Problem } from "../core/model/errors.ts";
import { isPlainObject, shown } from "../core/model/metadata.ts";
import type { Rates } from "./limits.ts";

export interface ProviderAccess extends Rates {
  /** Base of the API; null for Bedrock, which is the region's. */
  readonly endpoint: string | null;
  /** Secret of Secrets Manager whose text is the key; null where none is needed. */
  readonly secretArn: string | null;
  /** The models that collections may name. */
  readonly models: readonly string[];
  /** Inputs of one request; null: as many as the provider takes. */
  readonly inputsPerRequest: number | null;
  /** Requests that one process has on their way at a time. */
  readonly requestsAtOnce: number;
}
export type Providers = Readonly<Partial<Record<ProviderName, ProviderAccess>>>;

const numbers = {
  requestsPerMinute: { min: 1, max: 1_000_000, default: 600 },
  tokensPerMinute: { min: 1_000, max: 1_000_000_000, default: 1_000_000 },
  requestsAtOnce: { min: 1, max: 64, default: 4 },
} as const;
const inputsPerRequestMax = 2_048;
const modelsMax = 32;
const keys = new Set([
  "endpoint",
  "secretArn",
  "models",
  "inputsPerRequest",
  ...Object.keys(numbers),
  "approved",
]);

/**
 * The providers of a stage. `overrides` has the same shape and replaces single values, for a function whose environment was
 * changed by hand: outside stages that come and go (dev, pr-123) each value must be among the provider's `approved` ones. Throws `invalid`, naming
 * every key, its value and what is allowed.
 */
export function parseProviders(
  variables: Readonly<Record<string, string | undefined>>,
  stage: string,
): Providers {
  const problems: Problem[] = [];
  const given = objectOf(variables, env.providers, problems);
  const overrides = objectOf(variables, env.providerOverrides, problems);
  const parsed: Partial<Record<ProviderName, ProviderAccess>> = {};
  for (const name of Object.keys({ ...given, ...overrides })) {
    const field = `${env.providers}.${name.slice(0, 80)}`;
    const provider = providers.find((one) => one === name);
    const row = given[name] ?? {};
    const changes = overrides[name] ?? {};
    if (provider === undefined) {
      problems.push({ field, reason: `is no provider; there are ${providers.join(", ")}` });
    } else if (!isPlainObject(row) || !isPlainObject(changes)) {
      problems.push({ field, reason: "must be an object" });
    } else {
      const approved = row.approved ?? {};
      if (!isPlainObject(approved))
        problems.push({ field: `${field}.approved`, reason: "must be an object of lists" });
      else if (stageKindOf(stage) !== "passing")
        checkApproved(changes, approved, { field: `${env.providerOverrides}.${name}`, stage }, problems);
      parsed[provider] = accessOf(provider, { ...row, ...changes }, field, problems);
    }
  }
  if (problems.length === 0) return parsed;
  throw invalid(
    `embedding: ${problems.map(({ field, reason }) => `${field} ${reason}`).join("; ")}`,
    problems,
  );
}

function objectOf(
  variables: Readonly<Record<string, string | undefined>>,
  field: string,
  problems: Problem[],
): Record<string, unknown> {
  const text = variables[field];
  if (text === undefined || text === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = text;
  }
  if (isPlainObject(value)) return value;
  problems.push({ field, reason: `must be a JSON object of providers, got ${shown(value)}` });
  return {};
}

function checkApproved(
  changes: Record<string, unknown>,
  approved: Record<string, unknown>,
  at: { readonly field: string; readonly stage: string },
  problems: Problem[],
): void {
  for (const [key, value] of Object.entries(changes)) {
    const list = Object.hasOwn(approved, key) ? approved[key] : [];
    const allowed = Array.isArray(list) ? list : [];
    if (allowed.some((one) => JSON.stringify(one) === JSON.stringify(value))) continue;
    const known = allowed.length === 0 ? "nothing" : allowed.map(shown).join(", ");
    problems.push({
      field: `${at.field}.${key.slice(0, 80)}`,
      reason: `${mayBeSecret(key, value) ? "has a value" : `is ${shown(value)}`}, which stage ${at.stage} does not approve; approved: ${known}`,
    });
  }
}

function accessOf(
  provider: ProviderName,
  row: Record<string, unknown>,
  field: string,
  problems: Problem[],
): ProviderAccess {
  const bad = (name: string, expected: string) =>
    problems.push({
      field: `${field}.${name}`,
      reason: `must be ${expected}, got ${shown(row[name] ?? null)}`,
    });
  const integer = (
    name: string,
    { min, max, default: unset }: { min: number; max: number; default: number | null },
  ) => {
    const value = row[name] ?? unset;
    if (value !== null && !(Number.isInteger(value) && (value as number) >= min && (value as number) <= max))
      bad(name, `an integer from ${min} to ${max}`);
    return value as number;
  };
  const { endpoint = null, secretArn = null, models } = row;
  if (provider === "bedrock" ? endpoint !== null : !isUrl(endpoint)) {
    const expected =
      provider === "bedrock"
        ? "absent: Bedrock is the region's"
        : "an http(s) URL without query or credentials";
    // It may have a password in it: it is not shown.
    problems.push({ field: `${field}.endpoint`, reason: `must be ${expected}` });
  }
  // What stands there instead may be the key itself: it is not shown.
  if (secretArn !== null && !isArn(secretArn))
    problems.push({ field: `${field}.secretArn`, reason: "must be the ARN of a secret, and not its text" });
  if (provider === "bedrock" && secretArn !== null)
    bad("secretArn", "absent: Bedrock is called with the function's role");
  const isList = Array.isArray(models) && models.length > 0 && models.length <= modelsMax;
  if (!isList || !models.every((one) => typeof one === "string" && /^[\x21-\x7e]{1,256}$/.test(one)))
    bad("models", `a list of 1 to ${modelsMax} names of models`);
  for (const key of Object.keys(row))
    if (!keys.has(key))
      problems.push({
        field: `${field}.${key.slice(0, 80)}`,
        reason: `is not known; known are ${[...keys].join(", ")}`,
      });
  return {
    endpoint: endpoint as string | null,
    secretArn: secretArn as string | null,
    models: models as string[],
    inputsPerRequest: integer("inputsPerRequest", { min: 1, max: inputsPerRequestMax, default: null }),
    requestsPerMinute: integer("requestsPerMinute", numbers.requestsPerMinute),
    tokensPerMinute: integer("tokensPerMinute", numbers.tokensPerMinute),
    requestsAtOnce: integer("requestsAtOnce", numbers.requestsAtOnce),
  };
}

/** In the place of an ARN the key itself may stand, in an address a password: of those nothing is shown. */
const mayBeSecret = (key: string, value: unknown): boolean =>
  (key === "secretArn" && !isArn(value)) || (key === "endpoint" && !isUrl(value));

const isArn = (value: unknown): boolean =>
  typeof value === "string" && /^arn:aws[\w-]*:secretsmanager:\S{1,1800}$/.test(value);

/** As it is written: URL would take spaces, backslashes and a missing authority, and make something else of them. */
const isUrl = (value: unknown): boolean =>
  typeof value === "string" &&
  value.length <= 1_000 &&
  /^https?:\/\/[^\s?#@\\]+$/.test(value) &&
  URL.canParse(value);
