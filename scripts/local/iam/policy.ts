/**
 * IAM policy documents, read strictly. AWS ignores nothing in a policy and guesses nothing; neither does this: whatever is
 * not known here (an operator, a condition key, an action, a kind of principal, an element) is an error, and never an allow.
 */
import { isKnownPattern } from "./actions.ts";
import { type Condition, parseConditions } from "./conditions.ts";

export interface Statement {
  /** Where it stands, for denials and for tests: policy and Sid, or its place. */
  readonly name: string;
  readonly effect: "Allow" | "Deny";
  readonly actions: Matcher;
  readonly resources: Matcher;
  /** Resource policies only; null in identity policies. */
  readonly principals: readonly Principal[] | null;
  readonly conditions: readonly Condition[];
}

/** `Action` or `NotAction`, `Resource` or `NotResource`. */
export interface Matcher {
  readonly patterns: readonly string[];
  readonly isNegated: boolean;
}

export type Principal =
  | { readonly kind: "anyone" }
  | { readonly kind: "account"; readonly account: string }
  | { readonly kind: "arn"; readonly arn: string }
  | { readonly kind: "service"; readonly service: string };

export type PolicyKind = "identity" | "resource";

const elements = [
  "Sid",
  "Effect",
  "Principal",
  "Action",
  "NotAction",
  "Resource",
  "NotResource",
  "Condition",
];

/** The statements of a document; `name` is that of the policy. Throws for what is not known here. */
export function parsePolicy(document: unknown, name: string, kind: PolicyKind): Statement[] {
  const { Version, Statement: statements } = document as { Version?: unknown; Statement?: unknown };
  if (Version !== "2012-10-17")
    throw new Error(`${name}: Version must be 2012-10-17, got ${JSON.stringify(Version)}`);
  return listOf(statements).map((one, i) =>
    parseStatement(one as Record<string, unknown>, `${name}[${i}]`, kind),
  );
}

function parseStatement(statement: Record<string, unknown>, place: string, kind: PolicyKind): Statement {
  const name = typeof statement.Sid === "string" ? `${place} ${statement.Sid}` : place;
  for (const element of Object.keys(statement))
    if (!elements.includes(element)) throw new Error(`${name}: the element ${element} is not known here`);
  const { Effect: effect, Principal: principal, Condition: conditions = {} } = statement;
  if (effect !== "Allow" && effect !== "Deny")
    throw new Error(`${name}: Effect is ${JSON.stringify(effect)}`);
  if ((principal === undefined) !== (kind === "identity"))
    throw new Error(`${name}: a Principal belongs in resource policies, and only there`);
  const actions = matcher(statement, "Action", name);
  for (const pattern of actions.patterns)
    if (!isKnownPattern(pattern)) throw new Error(`${name}: the action ${pattern} is not known here`);
  return {
    name,
    effect,
    actions,
    resources: matcher(statement, "Resource", name),
    principals: principal === undefined ? null : parsePrincipals(principal, name),
    conditions: parseConditions(conditions as Record<string, Record<string, unknown>>, name),
  };
}

function matcher(statement: Record<string, unknown>, element: "Action" | "Resource", name: string): Matcher {
  const [plain, negated] = [statement[element], statement[`Not${element}`]];
  if ((plain === undefined) === (negated === undefined))
    throw new Error(`${name}: needs exactly one of ${element} and Not${element}`);
  return { patterns: listOf(plain ?? negated).map(String), isNegated: plain === undefined };
}

function parsePrincipals(value: unknown, name: string): Principal[] {
  if (value === "*") return [{ kind: "anyone" }];
  return Object.entries(value as Record<string, unknown>).flatMap(([type, ids]) =>
    listOf(ids)
      .map(String)
      .map((id): Principal => {
        if (type === "Service") return { kind: "service", service: id };
        if (type !== "AWS") throw new Error(`${name}: principals of type ${type} are not known here`);
        if (id === "*") return { kind: "anyone" };
        const account = /^(?:arn:aws:iam::)?(\d{12})(?::root)?$/.exec(id)?.[1];
        if (account !== undefined) return { kind: "account", account };
        if (/^arn:aws:(?:iam|sts)::\d{12}:/.test(id)) return { kind: "arn", arn: id };
        throw new Error(`${name}: the principal ${id} is not known here`);
      }),
  );
}

export const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);

/** `*` is any text, `?` one character, as in IAM's patterns; actions are matched without regard to case. */
export function matches(pattern: string, value: string, ignoreCase = false): boolean {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, ignoreCase ? "is" : "s").test(value);
}
