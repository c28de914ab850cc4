/**
 * Items and jobs in memory. What may expire does so at once: DynamoDB takes up to two days, and may be as fast. Records pass as JSON text, as
 * they would through a database.
 */
import {
  decodeItem,
  type EndedJob,
  encodeItem,
  expiryMs,
  type Item,
  type ItemKey,
  type Priority,
  type Status,
  timeOf,
} from "../../../lib/jobs/item.ts";
import {
  type AuditEntry,
  type BulkRun,
  type Counts,
  type JobTable,
  type ListRange,
  noCounts,
  type WakeQueues,
} from "../../../lib/jobs/ports.ts";

const idOf = ({ collectionId, item }: ItemKey): string => JSON.stringify([collectionId, item]);
function keyOf(id: string): ItemKey {
  const [collectionId, item] = JSON.parse(id) as [string, string];
  return { collectionId, item };
}

export class MemoryJobTable implements JobTable {
  readonly #clock: { nowMs(): number };
  readonly #items = new Map<string, string>();
  /** Those whose records others wrote, as the index has them. */
  readonly #forged = new Map<string, Item>();
  readonly #ended = new Map<string, { text: string; untilMs: number }>();
  readonly #counts = new Map<string, Counts>();
  readonly #runs = new Map<string, { text: string; untilMs: number }>();
  #audit: (AuditEntry & { untilMs: number })[] = [];
  #settings: { text: string; revision: number } | null = null;

  constructor(clock: { nowMs(): number }) {
    this.#clock = clock;
  }

  /** Every item's record, but for forged ones. */
  get all(): Item[] {
    return [...this.#items]
      .filter(([id]) => !this.#forged.has(id))
      .map(([id, text]) => decodeItem(text, keyOf(id), "memory"))
      .filter((item) => this.#isThere(item));
  }

  /** Whatever text in the place of a record, as others may write it. */
  forge(item: Item, text: string): void {
    this.#items.set(idOf(item), text);
    this.#forged.set(idOf(item), item);
  }

  async read(key: ItemKey): Promise<Item | null> {
    return this.#read(key);
  }

  /** At once, as a condition and its write are one in a database. */
  #read(key: ItemKey): Item | null {
    const text = this.#items.get(idOf(key));
    if (text === undefined) return null;
    const item = decodeItem(text, key, "memory");
    if (this.#isThere(item)) return item;
    this.#items.delete(idOf(key));
    return null;
  }

  async swap(seen: Item | null, next: Item): Promise<boolean> {
    if (!this.#stands(seen, next)) return false;
    this.#items.set(idOf(next), encodeItem(next));
    return true;
  }

  async remove(seen: Item): Promise<boolean> {
    return this.#stands(seen, seen) && this.#items.delete(idOf(seen));
  }

  #stands(seen: Item | null, key: ItemKey): boolean {
    return (this.#read(key)?.stamp ?? null) === (seen?.stamp ?? null);
  }

  async *list(status: Status, range: ListRange = {}): AsyncIterable<readonly ItemKey[]> {
    const { sinceMs = 0, untilMs = Number.POSITIVE_INFINITY, first, limit } = range;
    const found = [...this.all, ...this.#forged.values()]
      .filter((item) => item.status === status && timeOf(item) >= sinceMs && timeOf(item) < untilMs)
      .sort((a, b) => timeOf(a) - timeOf(b));
    const page = (first === "latest" ? found.reverse() : found).slice(0, limit);
    if (page.length > 0) yield page.map(({ collectionId, item }) => ({ collectionId, item }));
  }

  async count(status: Status): Promise<number> {
    return this.all.filter((item) => item.status === status).length;
  }

  async *items(collectionId: string): AsyncIterable<readonly ItemKey[]> {
    const page = this.all.filter((item) => item.collectionId === collectionId);
    if (page.length > 0) yield page.map(({ item }) => ({ collectionId, item }));
  }

  async keepEnded(job: EndedJob, untilMs: number): Promise<void> {
    this.#ended.set(job.job, { text: JSON.stringify(job), untilMs });
  }

  async readEnded(job: string): Promise<EndedJob | null> {
    const found = this.#ended.get(job);
    return found === undefined || found.untilMs <= this.#clock.nowMs()
      ? null
      : (JSON.parse(found.text) as EndedJob);
  }

  async addCounts(collectionId: string, counts: Partial<Counts>): Promise<void> {
    const before = this.#counts.get(collectionId) ?? noCounts;
    const names = Object.keys(noCounts) as (keyof Counts)[];
    const sums = names.map((name) => [name, before[name] + (counts[name] ?? 0)]);
    this.#counts.set(collectionId, Object.fromEntries(sums) as Counts);
  }

  async readCounts(collectionId: string): Promise<Counts> {
    return this.#counts.get(collectionId) ?? noCounts;
  }

  async readSettings(): Promise<{ readonly text: string; readonly revision: number } | null> {
    return this.#settings;
  }

  async writeSettings(text: string, revision: number): Promise<boolean> {
    if ((this.#settings?.revision ?? 0) !== revision) return false;
    this.#settings = { text, revision: revision + 1 };
    return true;
  }

  async writeRun(run: BulkRun, untilMs: number): Promise<void> {
    this.#runs.set(run.id, { text: JSON.stringify(run), untilMs });
  }

  async runs(collectionId: string, limit: number): Promise<readonly BulkRun[]> {
    return [...this.#runs.values()]
      .filter(({ untilMs }) => untilMs > this.#clock.nowMs())
      .map(({ text }) => JSON.parse(text) as BulkRun)
      .filter((run) => run.collectionId === collectionId)
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, limit);
  }

  async readRun(collectionId: string, id: string): Promise<BulkRun | null> {
    const all = await this.runs(collectionId, Number.MAX_SAFE_INTEGER);
    return all.find((run) => run.id === id) ?? null;
  }

  async audit(limit: number): Promise<readonly AuditEntry[]> {
    const nowMs = this.#clock.nowMs();
    return this.#audit
      .filter(({ untilMs }) => untilMs > nowMs)
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, limit)
      .map(({ id, who, what }) => ({ id, who, what }));
  }

  async addAudit(entry: AuditEntry, untilMs: number): Promise<void> {
    this.#audit = [...this.#audit, { ...entry, untilMs }];
  }

  #isThere(item: Item): boolean {
    const expires = expiryMs(item);
    return expires === null || expires > this.#clock.nowMs();
  }
}

/** Messages as they were sent, by priority. */
export class MemoryWakeQueues implements WakeQueues {
  readonly sent: Record<Priority, string[]> = { high: [], normal: [], low: [] };
  /** Sending fails while it is set. */
  failure: Error | null = null;

  async send(priority: Priority, bodies: readonly string[]): Promise<void> {
    if (this.failure !== null) throw this.failure;
    this.sent[priority].push(...bodies);
  }

  /** All messages, which are gone then. */
  take(): string[] {
    const all = Object.values(this.sent).flat();
    for (const bodies of Object.values(this.sent)) bodies.length = 0;
    return all;
  }
}
