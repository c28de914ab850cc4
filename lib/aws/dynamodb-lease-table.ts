/**
 * Leases on one DynamoDB table.
 *
 *   pk "lease#<name>", sk "lease": epoch (N), expiresAtMs (N), owner (S, absent while it is not held)
 *   pk "lease#<name>", sk "note":  note (S, JSON)
 *
 * A lease row is never deleted and carries no TTL: its epoch has to outlive every holder. An acquisition reads the row
 * and then swaps exactly what it read (the epoch is the version of the row), so of any number of racers one wins.
 */
import { isDeepStrictEqual } from "node:util";
import {
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  UpdateCommand,
  type UpdateCommandInput,
} from "@aws-sdk/lib-dynamodb";
import { table } from "../contract/names.ts";
import { corrupt, SiltstoneError } from "../core/model/errors.ts";
import { type Epoch, epoch, isVersion } from "../core/model/ids.ts";
import { isLeaseHeld } from "../core/policy/time-bounds.ts";
import type { Lease, LeaseTable } from "../engine/ports.ts";
import { failure } from "./failure.ts";

/** A swap is lost to a holder that has the lease now, so the second look almost always ends it. */
const acquireAttemptsMax = 5;

interface LeaseRow {
  readonly epoch: Epoch;
  readonly owner: string | null;
  readonly expiresAtMs: number;
}

export class DynamoDbLeaseTable implements LeaseTable {
  readonly #client: DynamoDBDocumentClient;
  readonly #table: string;

  constructor(client: DynamoDBDocumentClient, tableName: string) {
    this.#client = client;
    this.#table = tableName;
  }

  async acquire(
    name: string,
    request: { owner: string; leaseMs: number; nowMs: number; epochAbove?: Epoch },
  ): Promise<{ kind: "acquired"; lease: Lease } | { kind: "held"; by: Lease }> {
    let wanted: Lease | null = null;
    for (let attempt = 0; attempt < acquireAttemptsMax; attempt++) {
      const row = await this.#row(name);
      const held = row && leaseOf(name, row);
      // Our own swap may have won although its answer was lost and the SDK's retry then met a changed row.
      if (held && wanted && isDeepStrictEqual(held, wanted)) {
        return { kind: "acquired", lease: held };
      }
      if (held && isLeaseHeld(held.expiresAtMs, request)) return { kind: "held", by: held };
      wanted = {
        name,
        owner: request.owner,
        epoch: epoch(Math.max(row?.epoch ?? 0, request.epochAbove ?? 0) + 1),
        expiresAtMs: request.nowMs + request.leaseMs,
      };
      if (await this.#swap(row, wanted)) return { kind: "acquired", lease: wanted };
    }
    throw new SiltstoneError(
      "unavailable",
      `lease ${name}: changed ${acquireAttemptsMax} times while it was read`,
    );
  }

  async extend(lease: Lease, request: { leaseMs: number; nowMs: number }): Promise<Lease | null> {
    const expiresAtMs = request.nowMs + request.leaseMs;
    const extended = await this.#update(lease.name, {
      ...ifHeldBy(lease, { ":expires": expiresAtMs }),
      UpdateExpression: "SET expiresAtMs = :expires",
    });
    return extended ? { ...lease, expiresAtMs } : null;
  }

  async release(lease: Lease): Promise<void> {
    await this.forceRelease(lease.name, lease);
  }

  async read(name: string): Promise<Lease | null> {
    const row = await this.#row(name);
    return row && leaseOf(name, row);
  }

  async forceRelease(name: string, expected: { owner: string; epoch: Epoch }): Promise<boolean> {
    return this.#update(name, {
      ...ifHeldBy(expected, { ":expires": 0 }),
      UpdateExpression: "SET expiresAtMs = :expires REMOVE #owner",
    });
  }

  async note(name: string, value: Readonly<Record<string, unknown>>): Promise<void> {
    const Item = { ...keyOf(name, "note"), note: JSON.stringify(value) };
    await this.#client.send(new PutCommand({ TableName: this.#table, Item })).catch((error: unknown) => {
      throw this.#failure(error, "PutItem", name);
    });
  }

  async readNote(name: string): Promise<Readonly<Record<string, unknown>> | null> {
    const item = await this.#get(name, "note");
    if (!item) return null;
    try {
      return JSON.parse(String(item.note)) as Record<string, unknown>;
    } catch (error) {
      throw corrupt(
        `note ${name} in table ${this.#table}`,
        "it is not JSON; the next run writes it anew",
        error,
      );
    }
  }

  /** Puts `wanted` where exactly `row` (or nothing) is; false when it is not that any more. */
  #swap(row: LeaseRow | null, wanted: Lease): Promise<boolean> {
    const values = { ":owner": wanted.owner, ":epoch": wanted.epoch, ":expires": wanted.expiresAtMs };
    const change = {
      UpdateExpression: "SET #owner = :owner, epoch = :epoch, expiresAtMs = :expires",
      ExpressionAttributeNames: { "#owner": "owner" },
    };
    if (!row) {
      const ConditionExpression = `attribute_not_exists(${table.partitionKey})`;
      return this.#update(wanted.name, { ...change, ConditionExpression, ExpressionAttributeValues: values });
    }
    return this.#update(wanted.name, {
      ...change,
      // The same epoch with a later expiry is a holder that has just extended its lease.
      ConditionExpression: "epoch = :seenEpoch AND expiresAtMs = :seenExpires",
      ExpressionAttributeValues: { ...values, ":seenEpoch": row.epoch, ":seenExpires": row.expiresAtMs },
    });
  }

  async #update(name: string, change: Omit<UpdateCommandInput, "TableName" | "Key">): Promise<boolean> {
    const Key = keyOf(name, "lease");
    try {
      await this.#client.send(new UpdateCommand({ TableName: this.#table, Key, ...change }));
      return true;
    } catch (error) {
      if (error instanceof Error && error.name === "ConditionalCheckFailedException") return false;
      throw this.#failure(error, "UpdateItem", name);
    }
  }

  async #row(name: string): Promise<LeaseRow | null> {
    const item = await this.#get(name, "lease");
    if (!item) return null;
    const { expiresAtMs, owner = null } = item;
    if (
      isVersion(item.epoch) &&
      Number.isFinite(expiresAtMs) &&
      (owner === null || typeof owner === "string")
    ) {
      return { epoch: item.epoch, expiresAtMs, owner } as LeaseRow;
    }
    throw corrupt(
      `lease ${name} in table ${this.#table}`,
      "epoch and expiresAtMs are not numbers; delete the item: epochs go on above the pointer's",
    );
  }

  async #get(name: string, kind: "lease" | "note"): Promise<Record<string, unknown> | undefined> {
    const command = new GetCommand({ TableName: this.#table, Key: keyOf(name, kind), ConsistentRead: true });
    const answer = await this.#client.send(command).catch((error: unknown) => {
      throw this.#failure(error, "GetItem", name);
    });
    return answer.Item;
  }

  #failure(error: unknown, operation: "GetItem" | "PutItem" | "UpdateItem", name: string): SiltstoneError {
    return failure(error, {
      call: `DynamoDB ${operation}`,
      subject: `${this.#table} lease#${name}`,
      writes: operation !== "GetItem",
      permission: `dynamodb:${operation}`,
    });
  }
}

const keyOf = (name: string, kind: "lease" | "note"): Record<string, string> => ({
  [table.partitionKey]: `lease#${name}`,
  [table.sortKey]: kind,
});

const ifHeldBy = (holder: { owner: string; epoch: Epoch }, values: Record<string, number>) => ({
  ConditionExpression: "#owner = :owner AND epoch = :epoch",
  ExpressionAttributeNames: { "#owner": "owner" },
  ExpressionAttributeValues: { ...values, ":owner": holder.owner, ":epoch": holder.epoch },
});

const leaseOf = (name: string, { owner, epoch, expiresAtMs }: LeaseRow): Lease | null =>
  owner === null ? null : { name, owner, epoch, expiresAtMs };
