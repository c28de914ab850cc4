/**
 * Which rights of a store's roles its recorded requests need: each right is taken away in turn, and one without which every recorded request
 * is allowed all the same is one that nobody needs.
 */
import { readFileSync } from "node:fs";
import {
  AccessControl,
  type AccessRules,
  type Allowed,
  type NamedPolicy,
} from "../../scripts/local/iam/access.ts";
import { listOf } from "../../scripts/local/iam/policy.ts";
import { accountId } from "../../scripts/local/resource-names.ts";

/** One action on one resource of a statement. */
export interface Right {
  readonly caller: string;
  readonly policy: string;
  readonly statement: number;
  readonly action: string;
  readonly resource: string;
}
interface Document {
  readonly Version: string;
  readonly Statement: readonly Readonly<Record<string, unknown>>[];
}

const documentOf = ({ document }: NamedPolicy): Document => {
  const { Version, Statement } = document as { Version: string; Statement: unknown };
  return { Version, Statement: listOf(Statement) as Document["Statement"] };
};

export const rightsOf = (rules: AccessRules): Right[] =>
  Object.entries(rules.callers).flatMap(([caller, { policies }]) =>
    policies.flatMap((policy) =>
      documentOf(policy).Statement.flatMap(({ Action, Resource }, statement) =>
        listOf(Action).flatMap((action) =>
          listOf(Resource).map((resource) => ({
            ...{ caller, policy: policy.name, statement },
            ...{ action: String(action), resource: String(resource) },
          })),
        ),
      ),
    ),
  );

/** The rules without that right: its statement is split into one for each other action and resource. */
function without(rules: AccessRules, right: Right): AccessRules {
  const caller = rules.callers[right.caller]!;
  const policies = caller.policies.map((policy) => {
    if (policy.name !== right.policy) return policy;
    const { Version, Statement } = documentOf(policy);
    const left = Statement.flatMap((one, index) => {
      if (index !== right.statement) return [one];
      return listOf(one.Action).flatMap((Action) =>
        listOf(one.Resource)
          .filter((Resource) => Action !== right.action || Resource !== right.resource)
          .map((Resource) => ({ ...one, Action, Resource })),
      );
    });
    return { ...policy, document: { Version, Statement: left } };
  });
  return { ...rules, callers: { ...rules.callers, [right.caller]: { ...caller, policies } } };
}

export const recordedIn = (file: string): Allowed[] =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Allowed);

/** Throws when the rules refuse a request that they have allowed. */
export function unneeded(
  rules: AccessRules,
  rights: readonly Right[],
  requests: readonly Allowed[],
): Right[] {
  const whole = new AccessControl(rules, accountId);
  for (const { accessKey, ...asked } of requests)
    if (whole.denialOf(accessKey, [asked]) !== null) throw new Error(`refused now: ${JSON.stringify(asked)}`);
  return rights.filter((right) => {
    const control = new AccessControl(without(rules, right), accountId);
    return requests.every(({ accessKey, ...asked }) => control.denialOf(accessKey, [asked]) === null);
  });
}
