/** Props are checked at synthesis: one that is not known here is an error, since TypeScript's check sees literals alone. */

/** Throws for a key of `given` that is not among `known`. `part` is the prop that `given` is of; empty for the store's own. */
export function checkProps(part: string, given: object, known: Readonly<Record<string, true>>): void {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(known, name));
  if (unknown.length === 0) return;
  const path = (name: string) => (part === "" ? name : `${part}.${name}`);
  throw new Error(
    `${unknown.map(path).join(", ")}: no such prop; ${part === "" ? "the store" : part} has ${Object.keys(known).join(", ")}`,
  );
}
