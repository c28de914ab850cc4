/**
 * Whether a request inside one account is allowed, by AWS's policy evaluation logic:
 *
 *  1. Any statement that denies it, in whatever policy: denied.
 *  2. A permissions boundary that does not allow it: denied.
 *  3. A statement of the caller's identity policies, or of the resource's policy, that allows it: allowed. A resource's
 *     policy that names the account as a whole only lets identity policies decide, and so allows nothing by itself. A KMS key's policy
 *     has the first word: where it does not let the account decide, identity policies allow nothing.
 *  4. Otherwise: denied.
 */
import { allHold, type Context } from "./conditions.ts";
import { type Matcher, matches, type Principal, type Statement } from "./policy.ts";

export interface Caller {
  readonly arn: string;
  /** Undefined for a service. */
  readonly account?: string;
  /** Set when an AWS service calls on its own behalf. */
  readonly service?: string;
}

export interface AccessRequest {
  readonly caller: Caller;
  /** "s3:PutObject" */
  readonly action: string;
  /** ARN. */
  readonly resource: string;
  readonly context: Context;
}

export interface Policies {
  readonly identity: readonly Statement[];
  readonly resource: readonly Statement[];
  /** Null where the caller has none. */
  readonly boundary: readonly Statement[] | null;
}

export interface Decision {
  readonly isAllowed: boolean;
  /** The statements that decided: those that allow it, or those that deny it; none where nothing allows it. */
  readonly statements: readonly string[];
}

export function evaluate(request: AccessRequest, { identity, resource, boundary }: Policies): Decision {
  const applying = (statements: readonly Statement[]) => statements.filter((one) => applies(one, request));
  const own = applying(identity);
  const theirs = applying(resource).filter((one) => namesCaller(one, request.caller));
  const bounds = boundary === null ? null : applying(boundary);
  const denials = [...own, ...theirs, ...(bounds ?? [])].filter(({ effect }) => effect === "Deny");
  if (denials.length > 0) return { isAllowed: false, statements: denials.map(({ name }) => name) };
  if (bounds !== null && bounds.length === 0) return { isAllowed: false, statements: [] };
  const counts = !request.resource.startsWith("arn:aws:kms:") || theirs.some(letsTheAccount);
  const allowing = [...(counts ? own : []), ...theirs.filter((one) => grants(one, request.caller))];
  return { isAllowed: allowing.length > 0, statements: allowing.map(({ name }) => name) };
}

const applies = ({ actions, resources, conditions }: Statement, request: AccessRequest): boolean =>
  isMatched(actions, request.action, true) &&
  isMatched(resources, request.resource, false) &&
  allHold(conditions, request.context);

const isMatched = ({ patterns, isNegated }: Matcher, value: string, ignoreCase: boolean): boolean =>
  patterns.some((pattern) => matches(pattern, value, ignoreCase)) !== isNegated;

const namesCaller = ({ principals }: Statement, caller: Caller): boolean =>
  principals!.some((principal) => isNamed(principal, caller));

function isNamed(principal: Principal, { arn, account, service }: Caller): boolean {
  switch (principal.kind) {
    case "anyone":
      return true;
    case "account":
      return principal.account === account;
    case "arn":
      return principal.arn === arn;
    case "service":
      return principal.service === service;
  }
}

const letsTheAccount = ({ principals }: Statement): boolean =>
  principals!.some(({ kind }) => kind === "account");

/** Whether an allowing statement gives the right by itself, rather than handing the decision to identity policies. */
const grants = ({ principals }: Statement, caller: Caller): boolean =>
  principals!.some((principal) => principal.kind !== "account" && isNamed(principal, caller));
