/**
 * Which view of a shard answers a read, by how old it may be. A read that tolerates an older view is not held up for long, and not by
 * what cannot be found out: the version that serves goes on serving while the newest is looked for, within bounds; a query that can do
 * without graphs gets a cold view while the first one is fetched.
 */
import type { Collection } from "../../core/model/collection.ts";
import { isKind, isNewerFormat, isUnreadable, SiltstoneError } from "../../core/model/errors.ts";
import { graphsHoldMs, loadBehindMs, refreshBehindMs, refreshHoldMs } from "../../core/policy/time-bounds.ts";
import type { World } from "../ports.ts";
import { readCollection } from "../shard/head.ts";
import type { ColdOffer } from "./cold-start.ts";
import type { NewestVersion } from "./newest-version.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import type { View } from "./view.ts";

export class AgedViews {
  readonly #world: World;
  readonly #collection: Collection;
  /** The shard's. */
  readonly #name: string;
  readonly #newest: NewestVersion;
  /** When it could not be found out whether what serves is the newest. */
  #failedAtMs = Number.NEGATIVE_INFINITY;
  /** A refresh that no answer waits for. */
  #behind: Promise<void> | null = null;
  /** The last such refresh met what no older view excuses: the next call meets it itself. */
  #isRefused = false;
  /** When graphs were last waited for in vain. */
  #waitedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    world: World,
    collection: Collection,
    { name, newest }: { readonly name: string; readonly newest: NewestVersion },
  ) {
    this.#world = world;
    this.#collection = collection;
    this.#name = name;
    this.#newest = newest;
  }

  /**
   * The view, known to be the newest at most `maxAgeMs` ago. `tolerant`: when that cannot be found out, or the newest
   * version is damaged, the view that there is serves; otherwise the failure is thrown.
   */
  async fresh(maxAgeMs: number, tolerant: boolean): Promise<View> {
    // Who tolerates an older view waits before he tries again what failed; a bound is kept by success alone.
    const sinceMs = tolerant ? this.#triedAtMs : this.#newest.checkedAtMs;
    const { current } = this.#newest;
    if (current !== null && this.#isWithin(sinceMs, maxAgeMs)) return current;
    if (tolerant) return current === null ? this.#newestOrOlder() : this.#soonOrOlder();
    return this.#newest.refreshed();
  }

  /**
   * The view for an eventual read. One older than the refresh interval still answers at once, while it is refreshed behind the
   * answer, up to the bounds that refreshBehindMs and loadBehindMs state; then it is waited for as `fresh` does. The age is
   * judged when the call comes: a refresh that was frozen with its process renews nothing.
   */
  async eventual(refreshMs: number): Promise<View> {
    const { current, checkedAtMs, fault, refreshing } = this.#newest;
    if (current === null || this.#isWithin(this.#triedAtMs, refreshMs)) return this.fresh(refreshMs, true);
    const isComing = refreshing !== null && fault === null;
    const boundMs = isComing ? loadBehindMs(refreshMs) : refreshBehindMs(refreshMs);
    if (this.#isRefused || !this.#isWithin(checkedAtMs, boundMs)) {
      this.#isRefused = false;
      return this.fresh(refreshMs, true);
    }
    this.#refreshBehind();
    return current;
  }

  #refreshBehind(): void {
    if (this.#behind !== null || this.#newest.refreshing !== null) return;
    this.#behind = this.#newestOrOlder().then(
      () => {
        this.#behind = null;
      },
      () => {
        this.#behind = null;
        this.#isRefused = true;
      },
    );
  }

  /** When what serves was last checked, or could not be. */
  get #triedAtMs(): number {
    return Math.max(this.#newest.checkedAtMs, this.#failedAtMs);
  }

  #isWithin(sinceMs: number, maxAgeMs: number): boolean {
    const ageMs = this.#world.clock.nowMs() - sinceMs;
    return ageMs >= 0 && ageMs < maxAgeMs;
  }

  async #newestOrOlder(): Promise<View> {
    try {
      return await this.#newest.refreshed();
    } catch (error) {
      return this.#instead(error);
    }
  }

  /** As above; the view that there is does not wait for long. */
  async #soonOrOlder(): Promise<View> {
    const found = await this.#world.clock.atMost(refreshHoldMs, this.#newestOrOlder());
    if (found !== null) return found.value;
    this.#hold("its newest version was not there");
    return this.#newest.current!;
  }

  /** What is looked for goes on being looked for; who tolerates an older view is not held up by it. */
  #hold(what: string): void {
    const why = `${what} within ${refreshHoldMs} ms: S3 is slow or silent, or the version is large`;
    this.#failed(new SiltstoneError("unavailable", `${this.#name}: ${why}`));
  }

  /** The older view that serves where the newest version cannot; throws the reason where none may. */
  async #instead(error: unknown): Promise<View> {
    const older = this.#newest.current;
    if (!(error instanceof SiltstoneError) || older === null) throw error;
    // Where damage, or a newer format, hides whatever was published, nothing is no answer.
    const mayServe = isUnreadable(error)
      ? older.manifest.version > 0 && (await this.#isOurs())
      : isKind(error, "unavailable");
    if (!mayServe) throw error;
    // While the configuration was looked at, another call may have found a newer version that is whole.
    const current = this.#newest.current ?? older;
    if (current === older) this.#failed(error);
    return current;
  }

  /** Why the newest version is not the one that serves. Who tolerates that does not try again at once. */
  #failed(error: SiltstoneError): void {
    this.#newest.fault = error;
    this.#failedAtMs = this.#world.clock.nowMs();
  }

  /** As `fresh`, for a query that can do without graphs: while the first view is being fetched, a cold one. */
  async soon(maxAgeMs: number): Promise<SnapshotView> {
    if (this.#newest.current !== null) return this.eventual(maxAgeMs);
    const overdue = await this.#overdue(maxAgeMs);
    if (overdue !== null) return overdue;
    let offer: ColdOffer | null;
    try {
      offer = await this.#coldOffer(maxAgeMs);
    } catch (error) {
      return this.#instead(error);
    }
    if (offer === null) return this.fresh(maxAgeMs, true);
    return (await this.#isStillNewest(offer, maxAgeMs)) ? offer.view : this.fresh(maxAgeMs, true);
  }

  /** The view with the graphs that should be there by now, when they come within a bound; null otherwise. */
  async #overdue(maxAgeMs: number): Promise<View | null> {
    const { cold, failedAtMs, fault } = this.#newest;
    const nowMs = this.#world.clock.nowMs();
    const inVainAtMs = Math.max(failedAtMs, this.#waitedAtMs);
    if (isKind(fault, "corrupt") || nowMs - inVainAtMs < maxAgeMs || !cold.isOverdue(nowMs)) return null;
    const coming = this.fresh(maxAgeMs, true).catch((error: unknown) => {
      if (error instanceof SiltstoneError) return null; // Clusters may answer all the same.
      throw error;
    });
    const found = await this.#world.clock.atMost(graphsHoldMs, coming);
    if (found === null) this.#waitedAtMs = this.#world.clock.nowMs();
    return found?.value ?? null;
  }

  /** False when the pointer has moved; an offer that cannot be checked serves, as a view would. */
  async #isStillNewest(offer: ColdOffer, maxAgeMs: number): Promise<boolean> {
    const askedAtMs = this.#world.clock.nowMs();
    if (askedAtMs === this.#triedAtMs || this.#isWithin(this.#triedAtMs, maxAgeMs)) return true;
    try {
      const moved = await this.#world.clock.atMost(refreshHoldMs, this.#newest.moved(offer.etag));
      if (this.#newest.current !== null) return false; // The graphs came meanwhile.
      if (moved === null) this.#hold("its pointer was not answered");
      else if (moved.value) return false;
      else this.#newest.foundNewest(offer.view, askedAtMs);
    } catch (error) {
      if (!isKind(error, "unavailable")) throw error;
      if (this.#newest.current !== null) return false;
      this.#failed(error);
    }
    return true;
  }

  /** Null when the graphs came first. */
  async #coldOffer(maxAgeMs: number): Promise<ColdOffer | null> {
    const { cold, refreshing, failedAtMs } = this.#newest;
    const isRecent = this.#world.clock.nowMs() - failedAtMs < maxAgeMs;
    if (cold.offer !== null && (refreshing !== null || isRecent)) return cold.offer;
    return cold.wait(() => this.#newest.refreshing ?? this.#newest.refresh(false));
  }

  /**
   * False when the collection was deleted, or another has its name by now: then its old views serve no read. A configuration
   * never changes, so one of a newer format is another's.
   */
  async #isOurs(): Promise<boolean> {
    try {
      return (await readCollection(this.#world.store, this.#collection.name)).id === this.#collection.id;
    } catch (error) {
      return !isKind(error, "notFound") && !isNewerFormat(error);
    }
  }
}
