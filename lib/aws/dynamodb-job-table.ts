/**
 * Items and jobs in the store's one table:
 *
 *   pk "jobs#item#<collection id>#<part>", sk the item's id: item (S, JSON), stamp (S), workKey (S), workAtMs (N), expiresAtSeconds (N) once it may go
 *   pk "jobs#ended#<job>",                 sk "job":      job (S, JSON), expiresAtSeconds
 *   pk "jobs#counts#<collection id>",      sk "counts":   saved, completed, failed, cancelled, superseded, chunks, tokens, tokenBytes (N)
 *   pk "jobs#runs#<collection id>",        sk a ULID:     run (S, JSON), expiresAtSeconds
 *   pk "jobs#settings",                    sk "settings": text (S), revision (N)
 *   pk "jobs#audit",                       sk a ULID:     who, what (S), expiresAtSeconds
 *
 * The index `work` has the items' keys by status and time: pk workKey "jobs#work#<status>#<part>", sk workAtMs. It is eventually
 * consistent: whatever is done with an item is decided by its record, and written where that still stands.
 */
import { createHash } from "node:crypto";
import {
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  type PutCommandInput,
  QueryCommand,
  type QueryCommandInput,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import { jobIndex, jobPrefix, table as keys } from "../contract/names.ts";
import { SiltstoneError } from "../core/model/errors.ts";
import {
  decodeItem,
  type EndedJob,
  encodeItem,
  expiryMs,
  type Item,
  type ItemKey,
  type Status,
  timeOf,
} from "../jobs/item.ts";
import {
  type AuditEntry,
  type BulkRun,
  type Counts,
  type JobTable,
  type ListRange,
  noCounts,
} from "../jobs/ports.ts";
import { failure } from "./failure.ts";

/** A partition takes 1,000 writes a second: a collection's items have sixteen, those of a status eight. */
const itemParts = 16;
const workParts = 8;
const pageKeys = 1_000;

type Operation = "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem" | "Query";

export class DynamoDbJobTable implements JobTable {
  readonly #client: DynamoDBDocumentClient;
  readonly #table: string;

  constructor(client: DynamoDBDocumentClient, tableName: string) {
    this.#client = client;
    this.#table = tableName;
  }

  async read(key: ItemKey): Promise<Item | null> {
    const found = await this.#get(itemKey(key));
    return found === null
      ? null
      : decodeItem(String(found.item), key, `an item's record in table ${this.#table}`);
  }

  async swap(seen: Item | null, next: Item): Promise<boolean> {
    const expires = expiryMs(next);
    const Item = {
      ...itemKey(next),
      stamp: next.stamp,
      item: encodeItem(next),
      [jobIndex.partitionKey]: workKey(next.status, partOf(next, workParts)),
      [jobIndex.sortKey]: timeOf(next),
      ...(expires === null ? {} : { [keys.ttl]: Math.ceil(expires / 1_000) }),
    };
    const isWritten = await this.#put({ Item, ...ifSeen(seen) });
    // Our own write may have won although its answer was lost, and the SDK's retry then met it.
    return isWritten || (await this.read(next))?.stamp === next.stamp;
  }

  async remove(seen: Item): Promise<boolean> {
    const command = new DeleteCommand({ TableName: this.#table, Key: itemKey(seen), ...ifSeen(seen) });
    return this.#conditional("DeleteItem", this.#client.send(command));
  }

  async *list(status: Status, range: ListRange = {}): AsyncIterable<readonly ItemKey[]> {
    const { sinceMs = 0, untilMs = Number.MAX_SAFE_INTEGER, first, limit = Number.POSITIVE_INFINITY } = range;
    for (let part = 0; part < workParts; part++) {
      let left = limit;
      const query = {
        ...ofStatus(status, part),
        KeyConditionExpression: "#work = :work AND #at BETWEEN :since AND :until",
        ExpressionAttributeNames: { "#work": jobIndex.partitionKey, "#at": jobIndex.sortKey },
        ExpressionAttributeValues: {
          ":work": workKey(status, part),
          ":since": sinceMs,
          ":until": untilMs - 1,
        },
        ScanIndexForward: first !== "latest",
        Limit: Math.min(pageKeys, limit),
      };
      for await (const items of this.#pages(query)) {
        yield items.map(keyOf).slice(0, left);
        left -= items.length;
        if (left <= 0) break;
      }
    }
  }

  async count(status: Status): Promise<number> {
    const parts = Array.from({ length: workParts }, async (_, part) => {
      let count = 0;
      const query: Omit<QueryCommandInput, "TableName"> = { ...ofStatus(status, part), Select: "COUNT" };
      for (let start: QueryCommandInput["ExclusiveStartKey"]; ; ) {
        const answer = await this.#query({ ...query, ExclusiveStartKey: start });
        count += answer.Count ?? 0;
        start = answer.LastEvaluatedKey;
        if (start === undefined) return count;
      }
    });
    return (await Promise.all(parts)).reduce((sum, count) => sum + count, 0);
  }

  async *items(collectionId: string): AsyncIterable<readonly ItemKey[]> {
    for (let part = 0; part < itemParts; part++) {
      const query = {
        KeyConditionExpression: "#pk = :pk",
        ExpressionAttributeNames: { "#pk": keys.partitionKey, "#sk": keys.sortKey },
        ExpressionAttributeValues: { ":pk": itemPartition(collectionId, part) },
        ProjectionExpression: "#pk, #sk",
        // A rollback cancels what was saved before it began, and all of it.
        ConsistentRead: true,
      };
      for await (const items of this.#pages(query)) yield items.map(keyOf);
    }
  }

  async keepEnded(job: EndedJob, untilMs: number): Promise<void> {
    const Item = {
      ...keyed(`${jobPrefix}ended#${job.job}`, "job"),
      job: JSON.stringify(job),
      [keys.ttl]: Math.ceil(untilMs / 1_000),
    };
    await this.#put({ Item });
  }

  async readEnded(job: string): Promise<EndedJob | null> {
    const found = await this.#get(keyed(`${jobPrefix}ended#${job}`, "job"));
    return found === null ? null : (JSON.parse(String(found.job)) as EndedJob);
  }

  async addCounts(collectionId: string, counts: Partial<Counts>): Promise<void> {
    const added = Object.entries(counts);
    if (added.length === 0) return;
    await this.#sent(
      "UpdateItem",
      this.#client.send(
        new UpdateCommand({
          TableName: this.#table,
          Key: countsKey(collectionId),
          UpdateExpression: `ADD ${added.map(([name]) => `#${name} :${name}`).join(", ")}`,
          ExpressionAttributeNames: Object.fromEntries(added.map(([name]) => [`#${name}`, name])),
          ExpressionAttributeValues: Object.fromEntries(added.map(([name, value]) => [`:${name}`, value])),
        }),
      ),
    );
  }

  async readCounts(collectionId: string): Promise<Counts> {
    const found = (await this.#get(countsKey(collectionId))) ?? {};
    return Object.fromEntries(
      Object.keys(noCounts).map((name) => [name, Number(found[name] ?? 0)]),
    ) as unknown as Counts;
  }

  async readSettings(): Promise<{ readonly text: string; readonly revision: number } | null> {
    const found = await this.#get(settingsKey);
    return found === null ? null : { text: String(found.text), revision: Number(found.revision) };
  }

  async writeSettings(text: string, revision: number): Promise<boolean> {
    const Item = { ...settingsKey, text, revision: revision + 1 };
    if (revision === 0) return this.#put({ Item, ...ifSeen(null) });
    return this.#put({
      Item,
      ConditionExpression: "#revision = :revision",
      ExpressionAttributeNames: { "#revision": "revision" },
      ExpressionAttributeValues: { ":revision": revision },
    });
  }

  async writeRun(run: BulkRun, untilMs: number): Promise<void> {
    const Item = {
      ...runKey(run.collectionId, run.id),
      run: JSON.stringify(run),
      [keys.ttl]: Math.ceil(untilMs / 1_000),
    };
    await this.#put({ Item });
  }

  async runs(collectionId: string, limit: number): Promise<readonly BulkRun[]> {
    const found = await this.#newest(runsPartition(collectionId), limit);
    return found.map(({ run }) => JSON.parse(String(run)) as BulkRun);
  }

  async readRun(collectionId: string, id: string): Promise<BulkRun | null> {
    const found = await this.#get(runKey(collectionId, id));
    return found === null ? null : (JSON.parse(String(found.run)) as BulkRun);
  }

  async audit(limit: number): Promise<readonly AuditEntry[]> {
    return (await this.#newest(auditPartition, limit)).map(({ who, what, [keys.sortKey]: id }) => ({
      ...{ id: String(id), who: String(who), what: String(what) },
    }));
  }

  async addAudit({ id, who, what }: AuditEntry, untilMs: number): Promise<void> {
    const Item = { ...keyed(auditPartition, id), who, what, [keys.ttl]: Math.ceil(untilMs / 1_000) };
    await this.#put({ Item });
  }

  /** Of a partition whose sort keys are ULIDs. */
  async #newest(partition: string, limit: number): Promise<readonly Record<string, unknown>[]> {
    const { Items = [] } = await this.#query({
      KeyConditionExpression: "#pk = :pk",
      ExpressionAttributeNames: { "#pk": keys.partitionKey },
      ExpressionAttributeValues: { ":pk": partition },
      ScanIndexForward: false,
      ConsistentRead: true,
      Limit: limit,
    });
    return Items;
  }

  async #get(Key: Record<string, string>): Promise<Record<string, unknown> | null> {
    const command = new GetCommand({ TableName: this.#table, Key, ConsistentRead: true });
    return (await this.#sent("GetItem", this.#client.send(command))).Item ?? null;
  }

  #put(input: Omit<PutCommandInput, "TableName">): Promise<boolean> {
    return this.#conditional(
      "PutItem",
      this.#client.send(new PutCommand({ TableName: this.#table, ...input })),
    );
  }

  /** False when the condition did not hold. */
  async #conditional(operation: Operation, sent: Promise<unknown>): Promise<boolean> {
    return this.#sent(
      operation,
      sent.then(
        () => true,
        (error: unknown) => {
          if (error instanceof Error && error.name === "ConditionalCheckFailedException") return false;
          throw error;
        },
      ),
    );
  }

  #query(input: Omit<QueryCommandInput, "TableName">) {
    return this.#sent("Query", this.#client.send(new QueryCommand({ TableName: this.#table, ...input })));
  }

  async *#pages(
    input: Omit<QueryCommandInput, "TableName">,
  ): AsyncIterable<readonly Record<string, unknown>[]> {
    for (let start: QueryCommandInput["ExclusiveStartKey"]; ; ) {
      const { Items = [], LastEvaluatedKey } = await this.#query({ ...input, ExclusiveStartKey: start });
      if (Items.length > 0) yield Items;
      if (LastEvaluatedKey === undefined) return;
      start = LastEvaluatedKey;
    }
  }

  async #sent<T>(operation: Operation, sent: Promise<T>): Promise<T> {
    try {
      return await sent;
    } catch (error) {
      throw this.#failure(error, operation);
    }
  }

  #failure(error: unknown, operation: Operation): SiltstoneError {
    if (error instanceof SiltstoneError) return error;
    return failure(error, {
      call: `DynamoDB ${operation}`,
      subject: `${this.#table}: items and jobs`,
      writes: operation !== "GetItem" && operation !== "Query",
      permission: `dynamodb:${operation}`,
    });
  }
}

const keyed = (partition: string, sort: string): Record<string, string> => ({
  [keys.partitionKey]: partition,
  [keys.sortKey]: sort,
});
const settingsKey = keyed(`${jobPrefix}settings`, "settings");
const auditPartition = `${jobPrefix}audit`;
const runsPartition = (collectionId: string): string => `${jobPrefix}runs#${collectionId}`;
const runKey = (collectionId: string, id: string) => keyed(runsPartition(collectionId), id);
const countsKey = (collectionId: string) => keyed(`${jobPrefix}counts#${collectionId}`, "counts");
const itemPartition = (collectionId: string, part: number): string =>
  `${jobPrefix}item#${collectionId}#${part}`;
const itemKey = (key: ItemKey) => keyed(itemPartition(key.collectionId, partOf(key, itemParts)), key.item);
const workKey = (status: Status, part: number): string => `${jobPrefix}work#${status}#${part}`;

const ofStatus = (status: Status, part: number) => ({
  IndexName: jobIndex.name,
  KeyConditionExpression: "#work = :work",
  ExpressionAttributeNames: { "#work": jobIndex.partitionKey },
  ExpressionAttributeValues: { ":work": workKey(status, part) },
});

/** Where exactly what was seen still stands. */
const ifSeen = (seen: Item | null) =>
  seen === null
    ? { ConditionExpression: `attribute_not_exists(${keys.partitionKey})` }
    : { ConditionExpression: "stamp = :seen", ExpressionAttributeValues: { ":seen": seen.stamp } };

const partOf = ({ item }: Pick<ItemKey, "item">, parts: number): number =>
  createHash("sha256").update(item).digest()[0]! % parts;

function keyOf(row: Record<string, unknown>): ItemKey {
  const [, , collectionId] = String(row[keys.partitionKey]).split("#");
  return { collectionId: collectionId!, item: String(row[keys.sortKey]) };
}
