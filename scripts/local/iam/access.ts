/**
 * Who may do what on the local stack, as the template says: the roles of its functions, by the access key that each
 * sandbox was given, and the policies of its resources. Plain data, so that every server process can be handed it.
 */
import { appendFileSync } from "node:fs";
import { isKnownAction } from "./actions.ts";
import type { Context } from "./conditions.ts";
import { type Caller, evaluate } from "./evaluate.ts";
import { parsePolicy, type Statement } from "./policy.ts";

export interface AccessRules {
  /** Callers by access key. A key that is not among them is unknown. */
  readonly callers: Readonly<Record<string, CallerRules>>;
  /** Policy documents of buckets, queues, functions and keys, by ARN. */
  readonly resources: Readonly<Record<string, NamedPolicy>>;
  /** ARN of the KMS key by which a bucket, a queue, a table is encrypted, by its ARN. @default none is */
  readonly keys?: Readonly<Record<string, string>>;
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
  /** What the service asks of the resource's KMS key in the caller's name, where it has one. @default nothing */
  readonly ofKey?: readonly KeyAction[];
}
export type KeyAction = `kms:${string}`;

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
      for (const each of [one, ...this.#askedOfKey(one)]) {
        const denial = this.#judge(known, each);
        if (denial !== null) return denial;
      }
      this.#record({ accessKey: accessKey!, ...one });
    }
    return null;
  }

  /** Null when an AWS service may do it on its own behalf: only the resource's policy can say so. */
  denialOfService(service: string, asked: Asked): Denial | null {
    return this.#judge({ caller: { arn: service, service }, identity: [], boundary: null }, asked);
  }

  #judge({ caller, identity, boundary }: ParsedCaller, asked: Asked): Denial | null {
    const { action, resource } = asked;
    if (!isKnownAction(action)) return denied(caller, asked, [], "the action is not known here");
    const request = { caller, action, resource, context: contextOf(asked, caller) };
    const policies = { identity, boundary, resource: this.#policyOf(resource) };
    const { isAllowed, statements } = evaluate(request, policies);
    return isAllowed ? null : denied(caller, asked, statements);
  }

  /** A service asks for the key in the caller's name, and says so. */
  #askedOfKey({ resource, ofKey = [] }: Asked): Asked[] {
    const keyArn = this.rules.keys?.[ownerOf(resource)];
    if (keyArn === undefined) return [];
    const [, , service] = resource.split(":");
    const [, , , region] = keyArn.split(":");
    const context = { "kms:ViaService": `${service}.${region}.amazonaws.com` };
    return ofKey.map((action) => ({ action, resource: keyArn, context }));
  }

  /** Requests that differ in an id or a number alone are of one kind. */
  #record(allowed: Allowed): void {
    if (this.#recordFile === undefined || allowed.accessKey === ownerKey) return;
    const kind = JSON.stringify(allowed).replaceAll(/[0-9A-HJKMNP-TV-Z]{26}|\d+/g, "0");
    if (this.#recorded.has(kind)) return;
    this.#recorded.add(kind);
    appendFileSync(this.#recordFile, `${JSON.stringify(allowed)}\n`);
  }

  #policyOf = (resource: string): readonly Statement[] => this.#resources.get(ownerOf(resource)) ?? [];
}

/** A bucket's policy and key are its objects', a table's are its indexes'. */
function ownerOf(resource: string): string {
  if (resource.startsWith("arn:aws:s3:::")) return resource.split("/", 1)[0]!;
  return resource.replace(/^(arn:aws:dynamodb:.*)\/index\/.*$/, "$1");
}

const everything: NamedPolicy = {
  name: "the account's own rights",
  document: { Version: "2012-10-17", Statement: { Effect: "Allow", Action: "*", Resource: "*" } },
};

function contextOf({ context = {} }: Asked, { arn, account, service }: Caller): Context {
  const values = {
    "aws:PrincipalArn": arn,
    ...(account === undefined ? {} : { "aws:PrincipalAccount": account }),
    "aws:PrincipalIsAWSService": String(service !== undefined),
    "aws:ViaAWSService": "false",
    // Nothing is encrypted on 127.0.0.1; what is deployed is only reached over TLS.
    "aws:SecureTransport": "true",
    "s3:TlsVersion": "1.3",
    ...context,
  };
  return new Map(Object.entries(values).map(([key, value]) => [key.toLowerCase(), value]));
}

function denied(
  caller: Caller,
  asked: Asked,
  denials: readonly string[],
  reason = `because no policy allows the ${asked.action} action`,
): Denial {
  const why = denials.length > 0 ? `with an explicit deny (${denials.join("; ")})` : reason;
  const message = `User: ${caller.arn} is not authorized to perform: ${asked.action} on resource: "${asked.resource}" ${why}`;
  return { kind: "denied", message, asked };
}

/** The access key of a request signed with SigV4, in the header or the query string; null when it is not signed. */
export function accessKeyOf(authorization: string | undefined, query?: URLSearchParams): string | null {
  const inHeader = /Credential=([^/,\s]+)\//.exec(authorization ?? "")?.[1];
  return inHeader ?? query?.get("X-Amz-Credential")?.split("/")[0] ?? null;
}
