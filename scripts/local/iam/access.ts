/**
 * Who may do what on the local stack, as the template says: the roles of its functions, by the access key that each
 * sandbox was given, and the policies of its resources. Plain data, so that every server process can be handed it.
 */
import { appendFileSync } from "node:fs";
import type { Context } from "./conditions.ts";
import { type Caller, evaluate } from "./evaluate.ts";
import { parsePolicy, type Statement } from "./policy.ts";

export interface AccessRules {
  /** Callers by access key. A key that is not among them is unknown. */
  readonly callers: Readonly<Record<string, CallerRules>>;
  /** Policy documents of buckets, queues and functions, by ARN. */
  readonly resources: Readonly<Record<string, NamedPolicy>>;
  /** File to which what was allowed is appended, a line of JSON (`Allowed`) for each kind of request. @default none */
  readonly recordFile?: string;
}
/** A request that was allowed. */
export interface Allowed extends Asked {
  readonly accessKey: string;
}
export interface CallerRules {
  readonly arn: string;
  readonly policies: readonly NamedPolicy[];
  readonly boundary: NamedPolicy | null;
}
export interface NamedPolicy {
  readonly name: string;
  readonly document: unknown;
}

/** The key of the person at this machine: the account itself, which may do everything that no policy denies. */
export const ownerKey = "local";

/** One thing that a request is about to do. */
export interface Asked {
  readonly action: string;
  /** ARN. */
  readonly resource: string;
  readonly context?: Readonly<Record<string, string>>;
}

/** What a denied request is told; `message` is worded as AWS words it. */
export interface Denial {
  readonly kind: "unknownKey" | "denied";
  readonly message: string;
  readonly asked: Asked | null;
}

interface ParsedCaller {
  readonly caller: Caller;
  readonly identity: readonly Statement[];
  readonly boundary: readonly Statement[] | null;
}

export class AccessControl {
  readonly rules: AccessRules;
  readonly #callers: ReadonlyMap<string, ParsedCaller>;
  readonly #resources: ReadonlyMap<string, readonly Statement[]>;
  readonly #recordFile: string | undefined;
  /** What was recorded already. */
  readonly #recorded = new Set<string>();

  /** Throws when a policy has anything that is not known here. */
  constructor(rules: AccessRules, account: string) {
    this.rules = rules;
    const identity = ({ name, document }: NamedPolicy) => parsePolicy(document, name, "identity");
    const owner = { arn: `arn:aws:iam::${account}:root`, policies: [everything], boundary: null };
    this.#callers = new Map(
      Object.entries({ ...rules.callers, [ownerKey]: owner }).map(([key, { arn, policies, boundary }]) => [
        key,
        {
          caller: { arn, account },
          identity: policies.flatMap(identity),
          boundary: boundary === null ? null : identity(boundary),
        },
      ]),
    );
    this.#resources = new Map(
      Object.entries(rules.resources).map(([arn, { name, document }]) => [
        arn,
        parsePolicy(document, name, "resource"),
      ]),
    );
    this.#recordFile = rules.recordFile;
  }

  /** Null when the holder of the key may do all of it. */
  denialOf(accessKey: string | null, asked: readonly Asked[]): Denial | null {
    const known = accessKey === null ? undefined : this.#callers.get(accessKey);
    if (known === undefined)
      return {
        kind: "unknownKey",
        message: "The security token included in the request is invalid.",
        asked: null,
      };
    for (const one of asked) {
      const { caller, identity, boundary } = known;
      const request = { caller, action: one.action, resource: one.resource, context: contextOf(one, caller) };
      const policies = { identity, boundary, resource: this.#policyOf(one.resource) };
      const { isAllowed, statements } = evaluate(request, policies);
      if (!isAllowed) return denied(caller, one, statements);
      this.#record({ accessKey: accessKey!, ...one });
    }
    return null;
  }

  /** Requests that differ in an id or a number alone are of one kind. */
  #record(allowed: Allowed): void {
    if (this.#recordFile === undefined || allowed.accessKey === ownerKey) return;
    const kind = JSON.stringify(allowed).replaceAll(/[0-9A-HJKMNP-TV-Z]{26}|\d+/g, "0");
    if (this.#recorded.has(kind)) return;
    this.#recorded.add(kind);
    appendFileSync(this.#recordFile, `${JSON.stringify(allowed)}\n`);
  }

  /** A bucket's policy speaks of its objects, too. */
  #policyOf(resource: string): readonly Statement[] {
    const owner = resource.startsWith("arn:aws:s3:::") ? resource.split("/", 1)[0]! : resource;
    return this.#resources.get(owner) ?? [];
  }
}

const everything: NamedPolicy = {
  name: "the account's own rights",
  document: { Version: "2012-10-17", Statement: { Effect: "Allow", Action: "*", Resource: "*" } },
};

function contextOf({ context = {} }: Asked, { arn, account, service }: Caller): Context {
  const values = {
    "aws:PrincipalArn": arn,
    "aws:PrincipalAccount": account,
    "aws:PrincipalIsAWSService": String(service !== undefined),
    "aws:ViaAWSService": "false",
    // Nothing is encrypted on 127.0.0.1; what is deployed is only reached over TLS.
    "aws:SecureTransport": "true",
    "s3:TlsVersion": "1.3",
    ...context,
  };
  return new Map(Object.entries(values).map(([key, value]) => [key.toLowerCase(), value]));
}

function denied(caller: Caller, asked: Asked, denials: readonly string[]): Denial {
  const why =
    denials.length > 0
      ? `with an explicit deny (${denials.join("; ")})`
      : `because no policy allows the ${asked.action} action`;
  const message = `User: ${caller.arn} is not authorized to perform: ${asked.action} on resource: "${asked.resource}" ${why}`;
  return { kind: "denied", message, asked };
}

/** The access key of a request signed with SigV4, in the header or the query string; null when it is not signed. */
export function accessKeyOf(authorization: string | undefined, query?: URLSearchParams): string | null {
  const inHeader = /Credential=([^/,\s]+)\//.exec(authorization ?? "")?.[1];
  return inHeader ?? query?.get("X-Amz-Credential")?.split("/")[0] ?? null;
}
