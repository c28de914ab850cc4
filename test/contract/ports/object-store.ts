/**
 * The contract of ObjectStore, for every implementation. `makeStore` gives an empty store, or one with a prefix of its
 * own (`keysBelow`) when the store is shared; `pageKeys` is how many keys a list page carries at most.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ObjectStore } from "../../../lib/engine/ports.ts";

export interface StoreUnderTest {
  readonly store: ObjectStore;
  /** Ends in "/"; everything the suite writes lies below. */
  readonly keysBelow: string;
  readonly pageKeys: number;
  /** The store's own time, roughly: a clock of the suite may be a minute off. */
  readonly nowMs: () => number;
}

const racers = 50;

export function objectStoreContract(name: string, makeStore: () => Promise<StoreUnderTest>): void {
  describe(`object store contract: ${name}`, () => {
    let store: ObjectStore;
    let root: string;
    let pageKeys: number;
    let nowMs: () => number;
    let tests = 0;

    beforeEach(async () => {
      const made = await makeStore();
      store = made.store;
      ({ pageKeys, nowMs } = made);
      root = `${made.keysBelow}${++tests}/`;
    });

    const text = (value: string): Buffer => Buffer.from(value);
    const bodyOf = async (key: string): Promise<Buffer> => {
      const answer = await store.get(key);
      if (answer.kind !== "found") throw new Error(`${key}: ${answer.kind}`);
      return answer.body;
    };
    const listed = async (prefix: string, startAfter?: string): Promise<string[]> => {
      const keys: string[] = [];
      for await (const page of store.list(prefix, startAfter === undefined ? {} : { startAfter })) {
        keys.push(...page.map(({ key }) => key.slice(root.length)));
      }
      return keys;
    };

    test("gives back exactly the bytes that were put, from zero to a megabyte", async () => {
      const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      for (const body of [Buffer.alloc(0), every, Buffer.alloc(1 << 20, every)]) {
        const written = await store.put(`${root}a`, body);
        const found = await store.get(`${root}a`);
        expect(written.kind).toBe("written");
        if (found.kind !== "found" || written.kind !== "written") throw new Error("not found");
        expect(found.body.equals(body)).toBe(true);
        expect(found.etag).toBe(written.etag);
        expect(await store.head(`${root}a`)).toEqual({ bytes: body.length, etag: written.etag });
      }
    });

    test("keeps its own copy of what it was given and of what it gives", async () => {
      const body = text("stone");
      await store.put(`${root}a`, body);
      body.fill(0);
      (await bodyOf(`${root}a`)).fill(0);
      expect((await bodyOf(`${root}a`)).toString()).toBe("stone");
    });

    test("answers absent for what is not there", async () => {
      await store.put(`${root}ab`, text("x"));
      expect(await store.get(`${root}a`)).toEqual({ kind: "absent" });
      expect(await store.head(`${root}a`)).toBeNull();
      expect(await store.get(`${root}a`, { ifNoneMatch: '"0"' })).toEqual({ kind: "absent" });
      expect(await listed(`${root}nothing/`)).toEqual([]);
    });

    test("gives half-open ranges, cut at the end of the object", async () => {
      await store.put(`${root}a`, text("0123456789"));
      const range = async (start: number, limit: number): Promise<string> => {
        const answer = await store.get(`${root}a`, { range: { start, limit } });
        return answer.kind === "found" ? answer.body.toString() : answer.kind;
      };
      expect(await range(0, 1)).toBe("0");
      expect(await range(3, 7)).toBe("3456");
      expect(await range(9, 10)).toBe("9");
      expect(await range(8, 100)).toBe("89");
    });

    test("a range past the end is corrupt, an empty range invalid", async () => {
      await store.put(`${root}a`, text("0123456789"));
      await expect(store.get(`${root}a`, { range: { start: 10, limit: 12 } })).rejects.toMatchObject({
        kind: "corrupt",
      });
      for (const range of [
        { start: 4, limit: 4 },
        { start: 5, limit: 4 },
        { start: -1, limit: 4 },
      ]) {
        await expect(store.get(`${root}a`, { range })).rejects.toMatchObject({ kind: "invalid" });
      }
    });

    test("a conditional get answers notModified until the object changes", async () => {
      const first = await store.put(`${root}a`, text("1"));
      if (first.kind !== "written") throw new Error(first.kind);
      expect(await store.get(`${root}a`, { ifNoneMatch: first.etag })).toEqual({ kind: "notModified" });
      const second = await store.put(`${root}a`, text("2"));
      if (second.kind !== "written") throw new Error(second.kind);
      expect(second.etag).not.toBe(first.etag);
      expect(await store.get(`${root}a`, { ifNoneMatch: first.etag })).toMatchObject({
        kind: "found",
        etag: second.etag,
      });
    });

    test("ifAbsent writes once", async () => {
      expect((await store.put(`${root}a`, text("1"), { ifAbsent: true })).kind).toBe("written");
      expect(await store.put(`${root}a`, text("2"), { ifAbsent: true })).toEqual({
        kind: "preconditionFailed",
      });
      expect((await bodyOf(`${root}a`)).toString()).toBe("1");
      await store.delete([`${root}a`]);
      expect((await store.put(`${root}a`, text("3"), { ifAbsent: true })).kind).toBe("written");
    });

    test("ifMatch writes over exactly the named state, and never over nothing", async () => {
      const first = await store.put(`${root}a`, text("1"));
      if (first.kind !== "written") throw new Error(first.kind);
      expect((await store.put(`${root}a`, text("2"), { ifMatch: first.etag })).kind).toBe("written");
      expect(await store.put(`${root}a`, text("3"), { ifMatch: first.etag })).toEqual({
        kind: "preconditionFailed",
      });
      expect(await store.put(`${root}b`, text("3"), { ifMatch: first.etag })).toEqual({
        kind: "preconditionFailed",
      });
      expect((await bodyOf(`${root}a`)).toString()).toBe("2");
      expect(await store.head(`${root}b`)).toBeNull();
    });

    test(`one of ${racers} racers that create a key wins, and its bytes are there`, async () => {
      const answers = await Promise.all(
        Array.from({ length: racers }, (_, i) =>
          store.put(`${root}race`, text(`racer ${i}`), { ifAbsent: true }),
        ),
      );
      const winners = answers.flatMap((answer, i) => (answer.kind === "written" ? [i] : []));
      expect(winners).toHaveLength(1);
      expect((await bodyOf(`${root}race`)).toString()).toBe(`racer ${winners[0]}`);
    });

    test(`one of ${racers} racers that replace one state wins, round after round`, async () => {
      let current = await store.put(`${root}race`, text("start"));
      for (let round = 0; round < 3; round++) {
        if (current.kind !== "written") throw new Error(current.kind);
        const { etag } = current;
        const answers = await Promise.all(
          Array.from({ length: racers }, (_, i) =>
            store.put(`${root}race`, text(`${round}/${i}`), { ifMatch: etag }),
          ),
        );
        const winners = answers.flatMap((answer, i) => (answer.kind === "written" ? [i] : []));
        expect(winners).toHaveLength(1);
        expect((await bodyOf(`${root}race`)).toString()).toBe(`${round}/${winners[0]}`);
        current = answers[winners[0]!]!;
      }
    });

    test("lists in byte order, only what has the prefix, after startAfter", async () => {
      // UTF-16 order would put the emoji (D83D…) before U+FF5E; locale order would mix the cases.
      const names = ["B", "a", "a-b", "a.b", "a/b", "a0", "a_b", "é", "～", "😀"];
      for (const key of [...names].reverse()) await store.put(`${root}list/${key}`, text(key));
      await store.put(`${root}lisu`, text("beside"));
      expect(await listed(`${root}list/`)).toEqual(names.map((key) => `list/${key}`));
      expect(await listed(`${root}list/a`)).toEqual([
        "list/a",
        "list/a-b",
        "list/a.b",
        "list/a/b",
        "list/a0",
        "list/a_b",
      ]);
      expect(await listed(`${root}list/`, `${root}list/a0`)).toEqual([
        "list/a_b",
        "list/é",
        "list/～",
        "list/😀",
      ]);
      expect(await listed(`${root}list/`, `${root}list/a/`)).toEqual([
        "list/a/b",
        "list/a0",
        "list/a_b",
        "list/é",
        "list/～",
        "list/😀",
      ]);
      expect(await listed(`${root}list/`, `${root}list/😀`)).toEqual([]);
    });

    test("a list of several pages gives every key once, with its size, and no page above the limit", async () => {
      const count = 2 * pageKeys + 1;
      const keys = Array.from({ length: count }, (_, i) => `${root}pages/${String(i).padStart(6, "0")}`);
      for (let start = 0; start < count; start += racers) {
        await Promise.all(
          keys.slice(start, start + racers).map((key, i) => store.put(key, Buffer.alloc((start + i) % 5))),
        );
      }
      const seen: { key: string; bytes: number }[] = [];
      for await (const page of store.list(`${root}pages/`)) {
        expect(page.length).toBeLessThanOrEqual(pageKeys);
        seen.push(...page.map(({ key, bytes }) => ({ key, bytes })));
      }
      expect(seen).toEqual(keys.map((key, i) => ({ key, bytes: i % 5 })));
      await store.delete(keys);
      expect(await listed(`${root}pages/`)).toEqual([]);
    }, 120_000);

    test("a list sees every write and delete that was answered before it began", async () => {
      for (let i = 0; i < 5; i++) {
        await store.put(`${root}seen/${i}`, text("x"));
        expect(await listed(`${root}seen/`)).toHaveLength(i + 1);
      }
      await store.delete([`${root}seen/0`, `${root}seen/4`]);
      expect(await listed(`${root}seen/`)).toEqual(["seen/1", "seen/2", "seen/3"]);
    });

    // Keys order "a.b/" before "a/", since "." is below "/"; the names alone order the other way.
    test("a level has the distinct next path parts, ascending, and the keys beside them", async () => {
      for (const key of ["b/1", "a/x/1", "a/y", "a.b/1", "file", "c/"])
        await store.put(`${root}${key}`, text(key));
      expect(await store.listLevel(root)).toEqual({ folders: ["a", "a.b", "b", "c"], keys: [`${root}file`] });
      expect(await store.listLevel(`${root}a/`)).toEqual({ folders: ["x"], keys: [`${root}a/y`] });
      expect(await store.listLevel(`${root}c/`)).toEqual({ folders: [], keys: [`${root}c/`] });
      expect(await store.listLevel(`${root}none/`)).toEqual({ folders: [], keys: [] });
    });

    test("says when an object was written, by the store's clock, in whole seconds, and again when it is overwritten", async () => {
      const written = async () => {
        for await (const [entry] of store.list(`${root}a`)) return entry!.modifiedMs;
        throw new Error("not listed");
      };
      const beforeMs = nowMs();
      await store.put(`${root}a`, text("1"));
      const firstMs = await written();
      expect(firstMs % 1_000).toBe(0);
      expect(Math.abs(firstMs - beforeMs)).toBeLessThan(60_000);
      expect(await store.getBounded(`${root}a`, 1)).toEqual({
        kind: "found",
        body: text("1"),
        modifiedMs: firstMs,
      });
      await store.put(`${root}a`, text("2"));
      expect(await written()).toBeGreaterThanOrEqual(firstMs);
    });

    test("a bounded get reads what fits, and of what does not only its size", async () => {
      await store.put(`${root}a`, text("stone"));
      await store.put(`${root}empty`, Buffer.alloc(0));
      await store.put(`${root}large`, Buffer.alloc(3_000_000, 1));
      expect(await store.getBounded(`${root}a`, 5)).toMatchObject({ kind: "found", body: text("stone") });
      expect(await store.getBounded(`${root}empty`, 0)).toMatchObject({
        kind: "found",
        body: Buffer.alloc(0),
      });
      for (let i = 0; i < 100; i++)
        expect(await store.getBounded(`${root}large`, 2_999_999)).toEqual({
          kind: "tooLarge",
          bytes: 3_000_000,
        });
      expect(await store.getBounded(`${root}absent`, 5)).toEqual({ kind: "absent" });
    });

    test("a get reads no whole object above its bound, and any range of it", async () => {
      const key = `${root}large`;
      await store.put(key, Buffer.alloc(70_000, 1));
      await expect(store.get(key, { bytesMax: 69_999 })).rejects.toMatchObject({
        kind: "corrupt",
        message: `${key} is corrupt: it has 70000 bytes; at most 69999 are read`,
      });
      expect(await store.get(key, { bytesMax: 70_000 })).toMatchObject({ kind: "found" });
      expect(await store.get(key, { bytesMax: 1, range: { start: 69_990, limit: 70_010 } })).toMatchObject({
        body: Buffer.alloc(10, 1),
      });
      await store.put(key, Buffer.alloc(64 * 1024 * 1024 + 1));
      await expect(store.get(key)).rejects.toMatchObject({ kind: "corrupt" });
    });

    test("a copy has the bytes of its source, over whatever was there; the source stays", async () => {
      const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      const name = "ä b/c+d%20e～?.arrow";
      for (const body of [Buffer.alloc(0), every, Buffer.alloc(1 << 20, every)]) {
        await store.put(`${root}${name}`, body);
        expect(await store.copy(`${root}${name}`, `${root}copy`)).toMatchObject({ bytes: body.length });
        expect((await bodyOf(`${root}copy`)).equals(body)).toBe(true);
        expect((await bodyOf(`${root}${name}`)).equals(body)).toBe(true);
      }
      expect(await listed(root)).toEqual(["copy", name]);
      await store.put(`${root}${name}`, text("later"));
      expect((await bodyOf(`${root}copy`)).length).toBe(1 << 20);
    });

    test("a copy of nothing copies nothing", async () => {
      await store.put(`${root}to`, text("stays"));
      expect(await store.copy(`${root}from`, `${root}to`)).toBeNull();
      expect((await bodyOf(`${root}to`)).toString()).toBe("stays");
    });

    test("delete takes no keys, absent keys, and the same key twice", async () => {
      await store.put(`${root}a`, text("1"));
      await store.delete([]);
      await store.delete([`${root}a`, `${root}absent`, `${root}a`]);
      await store.delete([`${root}a`]);
      expect(await store.get(`${root}a`)).toEqual({ kind: "absent" });
    });

    test("putFile writes a local file of any size, and a missing file is an error that writes nothing", async () => {
      const folder = await mkdtemp(join(tmpdir(), "siltstone-contract-"));
      try {
        for (const bytes of [0, 1000, 18 * (1 << 20) + 1]) {
          const body = Buffer.alloc(bytes, "stone");
          await writeFile(join(folder, "file"), body);
          await store.putFile(`${root}file-${bytes}`, join(folder, "file"));
          expect((await bodyOf(`${root}file-${bytes}`)).equals(body)).toBe(true);
        }
        await expect(store.putFile(`${root}none`, join(folder, "none"))).rejects.toThrow(/none/);
        expect(await store.head(`${root}none`)).toBeNull();
      } finally {
        await rm(folder, { recursive: true });
      }
    }, 120_000);

    test("putFile never writes over what is there; of the same size it is a first attempt of its own", async () => {
      const folder = await mkdtemp(join(tmpdir(), "siltstone-contract-"));
      try {
        // In one request, and in parts.
        for (const bytes of [1000, 9 * (1 << 20)]) {
          const key = `${root}file-${bytes}`;
          await writeFile(join(folder, "file"), Buffer.alloc(bytes, "stone"));
          await store.putFile(key, join(folder, "file"));
          await store.putFile(key, join(folder, "file"));
          await writeFile(join(folder, "file"), Buffer.alloc(bytes - 1, "other"));
          await expect(store.putFile(key, join(folder, "file"))).rejects.toMatchObject({
            kind: "unavailable",
          });
          expect((await bodyOf(key)).equals(Buffer.alloc(bytes, "stone"))).toBe(true);
          await store.delete([key]);
          await store.putFile(key, join(folder, "file"));
          expect((await bodyOf(key)).equals(Buffer.alloc(bytes - 1, "other"))).toBe(true);
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    }, 120_000);
  });
}
