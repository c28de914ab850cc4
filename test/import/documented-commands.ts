/** The `silt` commands of a document's sh blocks, in their order, as arguments. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export function documentedCommands(document: string): string[][] {
  const text = readFileSync(join(import.meta.dirname, "../../docs", document), "utf8");
  const blocks = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block!);
  return blocks
    .flatMap((block) => block.replaceAll("\\\n", " ").split("\n"))
    .filter((line) => line.startsWith("silt "))
    .map((line) =>
      [...line.slice(5).matchAll(/'([^']*)'|([^\s']+)/g)].map(([, quoted, plain]) => quoted ?? plain!),
    );
}
