import { Crash, crashAt, type EffectHook, effects, preconditionFailed } from "./effects.ts";
import { memoryWorld } from "./memory/world.ts";

const bytes = (text: string): Buffer => Buffer.from(text);
const watch: EffectHook = () => undefined;

/** A little protocol: two writes, a list, a delete of two, a message. */
async function protocol(world: ReturnType<typeof effects>): Promise<void> {
  await world.store.put("a/1", bytes("one"), { ifAbsent: true });
  await world.store.put("a/2", bytes("two"));
  for await (const page of world.store.list("a/")) await world.store.delete(page.map(({ key }) => key));
  await world.queue.send("done");
}

test("effects are numbered in the order in which they begin, and each key of a batch is one", async () => {
  const world = effects(memoryWorld(), watch);
  await protocol(world);
  expect(world.effects.begun.map(({ index, operation, key }) => [index, operation, key])).toEqual([
    [1, "put", "a/1"],
    [2, "put", "a/2"],
    [3, "list", "a/"],
    [4, "delete", "a/1"],
    [5, "delete", "a/2"],
    [6, "list", "a/"],
    [7, "send", "done"],
  ]);
});

test("every crash point of a run can be enumerated, and a dead process does nothing any more", async () => {
  let crashes = 0;
  for (let index = 1; ; index++) {
    const below = memoryWorld();
    const world = effects(below, crashAt(index, "before"));
    const ended = await protocol(world).then(
      () => "alive",
      (error: unknown) => error,
    );
    if (ended === "alive") break;
    expect(ended).toBeInstanceOf(Crash);
    expect(world.effects.dead).toBe(true);
    const keys = below.store.keys();
    await expect(world.store.put("late", bytes(""))).rejects.toThrow(Crash);
    await expect(world.leases.read("x")).rejects.toThrow(Crash);
    expect(() => world.clock.nowMs()).toThrow(Crash);
    expect(below.store.keys()).toEqual(keys);
    crashes++;
  }
  expect(crashes).toBe(7);
});

test("a crash after an effect leaves the effect", async () => {
  const below = memoryWorld();
  await expect(protocol(effects(below, crashAt(2, "after")))).rejects.toThrow(Crash);
  expect(below.store.keys()).toEqual(["a/1", "a/2"]);
});

test("an effect that was under way when the process died is never answered", async () => {
  const below = memoryWorld();
  let release = (): void => undefined;
  const held = new Promise<undefined>((resolve) => {
    release = () => resolve(undefined);
  });
  const world = effects(below, (effect, moment) => {
    if (effect.index === 1 && moment === "after") return held;
    if (effect.index === 2) throw new Crash("in the second effect");
    return undefined;
  });
  const first = world.store.put("a", bytes("1"));
  await new Promise(setImmediate);
  await expect(world.store.head("b")).rejects.toThrow(Crash);
  release();
  await expect(first).rejects.toThrow(Crash);
  expect(below.store.keys()).toEqual(["a"]);
});

test("a lost answer is uncertain for a write that happened, and unavailable for a read", async () => {
  const below = memoryWorld();
  const world = effects(below, (_effect, moment) =>
    moment === "after" ? { kind: "loseAnswer" } : undefined,
  );
  await expect(world.store.put("a", bytes("1"))).rejects.toMatchObject({ kind: "uncertain" });
  await expect(world.store.get("a")).rejects.toMatchObject({ kind: "unavailable" });
  expect(below.store.keys()).toEqual(["a"]);
});

test("a refused effect does not happen, and an answer can be made up", async () => {
  const below = memoryWorld();
  const refusing = effects(below, () => ({ kind: "refuse" }));
  await expect(refusing.store.put("a", bytes("1"))).rejects.toMatchObject({ kind: "unavailable" });
  const lying = effects(below, (_effect, moment) => (moment === "before" ? preconditionFailed : undefined));
  await expect(lying.store.put("a", bytes("1"))).resolves.toEqual({ kind: "preconditionFailed" });
  expect(below.store.keys()).toEqual([]);
});
