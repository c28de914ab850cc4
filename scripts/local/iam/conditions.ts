/**
 * Condition blocks of IAM policies: the operators and keys that the templates use, as AWS defines them. An operator or a
 * key that is not listed here is an error when the policy is read.
 */
import { matches } from "./policy.ts";

export interface Condition {
  readonly operator: Operator;
  /** Whether it holds where the request says nothing of the key. */
  readonly ifExists: boolean;
  readonly key: string;
  readonly values: readonly string[];
}

/** What a request is judged by, by condition key in lower case; a key that is absent is null. */
export type Context = ReadonlyMap<string, string>;

type Test = (actual: string, expected: string) => boolean;
const number = (text: string): number => {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`${JSON.stringify(text)} is not a number`);
  return value;
};
const tests = {
  StringEquals: (actual, expected) => actual === expected,
  StringLike: (actual, expected) => matches(expected, actual),
  ArnEquals: (actual, expected) => matches(expected, actual),
  ArnLike: (actual, expected) => matches(expected, actual),
  Bool: (actual, expected) => actual === expected.toLowerCase(),
  NumericLessThan: (actual, expected) => number(actual) < number(expected),
  NumericLessThanEquals: (actual, expected) => number(actual) <= number(expected),
  NumericGreaterThan: (actual, expected) => number(actual) > number(expected),
  NumericGreaterThanEquals: (actual, expected) => number(actual) >= number(expected),
} satisfies Record<string, Test>;
/** True when no value equals: also when the key is absent. */
const negated = {
  StringNotEquals: tests.StringEquals,
  StringNotLike: tests.StringLike,
  ArnNotEquals: tests.ArnEquals,
  ArnNotLike: tests.ArnLike,
} satisfies Record<string, Test>;

type Operator = keyof typeof tests | keyof typeof negated | "Null";

/** Condition keys as AWS spells them, case apart. What a local request says of each is worked out in requests.ts. */
export const knownKeys = [
  "aws:PrincipalArn",
  "aws:PrincipalAccount",
  "aws:PrincipalIsAWSService",
  "aws:SecureTransport",
  "aws:SourceAccount",
  "aws:SourceArn",
  "aws:ViaAWSService",
  "dynamodb:LeadingKeys",
  "kms:EncryptionContext:aws:logs:arn",
  "kms:ViaService",
  "s3:delimiter",
  "s3:if-match",
  "s3:if-none-match",
  "s3:max-keys",
  "s3:ObjectCreationOperation",
  "s3:prefix",
  "s3:TlsVersion",
] as const;
const knownLowerCase: ReadonlySet<string> = new Set(knownKeys.map((key) => key.toLowerCase()));

export function parseConditions(
  block: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  name: string,
): Condition[] {
  return Object.entries(block).flatMap(([operatorText, entries]) => {
    // Requests here have one value of a key at most: for all of them, and of none as well.
    const ifExists = operatorText.endsWith("IfExists") || operatorText.startsWith("ForAllValues:");
    const operator = operatorText.replace(/^ForAllValues:/, "").replace(/IfExists$/, "");
    if (!(operator in tests || operator in negated || (operator === "Null" && !ifExists)))
      throw new Error(`${name}: the condition operator ${operatorText} is not known here`);
    return Object.entries(entries).map(([key, values]) => {
      if (!knownLowerCase.has(key.toLowerCase()))
        throw new Error(`${name}: the condition key ${key} is not known here`);
      const list = (Array.isArray(values) ? values : [values]).map(String);
      return { operator: operator as Operator, ifExists, key: key.toLowerCase(), values: list };
    });
  });
}

/** All of them: conditions of one statement are joined by and, values of one condition by or. */
export const allHold = (conditions: readonly Condition[], context: Context): boolean =>
  conditions.every((condition) => holds(condition, context));

function holds({ operator, ifExists, key, values }: Condition, context: Context): boolean {
  const actual = context.get(key);
  if (operator === "Null")
    return values.some((value) => (value.toLowerCase() === "true") === (actual === undefined));
  if (operator in negated) {
    if (actual === undefined) return true;
    return values.every((value) => !negated[operator as keyof typeof negated](actual, value));
  }
  if (actual === undefined) return ifExists;
  return values.some((value) => tests[operator as keyof typeof tests](actual, value));
}
