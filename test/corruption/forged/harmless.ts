import type { Asked } from "./child.ts";
import { inChildren } from "./in-children.ts";

/** Of the child process, which holds a small world: none of it goes by what a forged number says. */
const rssBytesMax = 500e6;
/** Of one case: all that reads a segment, a dozen times. The machine may have other things to do. */
const secondsMax = 20;

export async function expectHarmless(asked: Asked): Promise<void> {
  expect(asked.names.length).toBeGreaterThan(0);
  const outcomes = await inChildren(asked);
  expect(outcomes.map(({ name }) => name)).toEqual(asked.names);
  const harmful = outcomes.filter(
    ({ fault, seconds, rssBytes }) => fault !== null || seconds > secondsMax || rssBytes > rssBytesMax,
  );
  expect(harmful).toEqual([]);
}
