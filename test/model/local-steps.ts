/**
 * Steps that touch nothing that another process can see or change. Such a step commutes with every step of every other
 * process, and no property looks at it: it may be taken at once, and alone, without losing a reachable fault. (It always
 * leads on, so that no other step is put off for ever; dying just before it is the same as dying just after it.)
 */
import type { Setup } from "./rules.ts";
import { type Actor, manifestOf, type World } from "./world.ts";

/** `collected`: whether there is a collector, which alone looks for objects that no pointer has named yet. */
export function isLocal(world: World, setup: Setup, actor: Actor, collected: boolean): boolean {
  const { kind, at } = actor;
  switch (at) {
    case "sweep":
      // Applied deltas that were seen gone stay gone.
      return (actor.listed & manifestOf(world, actor.head).applied & world.deltas) === 0;
    case "delete":
      return kind === "compactor" && (actor.batch & world.deltas) === 0;
    case "upload":
      return !collected && setup.rules.deleteAfterCommit;
    case "propose":
      // New objects under names that no actor knows; without a collector, not even their order matters.
      return !collected;
    case "overlay":
      return actor.listed === 0;
    default:
      return false;
  }
}
