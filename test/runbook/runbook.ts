/** docs/runbook.md as it can be run: its sections, the parts of each, and the commands that stand in them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What the section of an alarm has, in this order. Other sections have commands without parts. */
export const partNames = [
  "What it means",
  "What users see",
  "How to look",
  "How to mend",
  "How to know that it is mended",
] as const;
export type PartName = (typeof partNames)[number];

export interface Section {
  readonly title: string;
  readonly alarms: readonly string[];
  /** Text and commands by the part's name, in the document's order; what comes before the first part is "". */
  readonly parts: ReadonlyMap<string, Part>;
}
interface Part {
  readonly text: string;
  /** As they stand there, without remarks. */
  readonly commands: readonly string[];
}

/** What a command ended with. */
export interface Said {
  readonly command: string;
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export type Execute = (words: readonly string[]) => Promise<Omit<Said, "command">>;

/** A part begins with its name. */
const partStart = new RegExp(`^\\*\\*(${partNames.join("|")})\\.\\*\\*`, "m");
const documentPath = join(import.meta.dirname, "../../docs/runbook.md");
/** A word that is to be filled in: NAME, VERSION. */
const placeholder = /(?<![\w-])[A-Z]{2,}(?![\w-])/g;

export class Runbook {
  readonly sections: ReadonlyMap<string, Section>;
  readonly #execute: Execute;
  readonly #done = new Set<string>();

  constructor(execute: Execute, document = readFileSync(documentPath, "utf8")) {
    const sections = document.split(/^## /m).slice(1).map(readSection);
    this.sections = new Map(sections.map((section) => [section.title, section]));
    this.#execute = execute;
  }

  /**
   * Runs the commands of a part in their order, those that `only` matches, with `values` in place of the words in capitals. Goes on when one
   * fails: to look at what is damaged ends with the damage's exit code.
   */
  async run(
    title: string,
    part: PartName | "",
    values: Readonly<Record<string, string>> = {},
    only = /^/,
  ): Promise<Said[]> {
    const commands = this.sections
      .get(title)
      ?.parts.get(part)
      ?.commands.filter((line) => only.test(line));
    if (commands === undefined || commands.length === 0)
      throw new Error(`the runbook has no such command: ${title}, ${part}, ${only}`);
    const said: Said[] = [];
    for (const line of commands) {
      const command = line.replaceAll(placeholder, (word) => {
        const value = values[word];
        if (value === undefined) throw new Error(`${title}: ${line}: nothing is given for ${word}`);
        return value;
      });
      said.push({ command, ...(await this.#execute(command.split(/\s+/))) });
      this.#done.add(`${title}: ${line}`);
    }
    return said;
  }

  /** Commands that were never run. */
  get left(): string[] {
    const all = [...this.sections.values()].flatMap(({ title, parts }) =>
      [...parts.values()].flatMap(({ commands }) => commands.map((line) => `${title}: ${line}`)),
    );
    return all.filter((line) => !this.#done.has(line));
  }
}

function readSection(text: string): Section {
  const [title = "", ...lines] = text.split("\n# ")[0]!.split("\n");
  const body = lines.join("\n");
  const alarms = /^\*Alarms: (.*)\.\*$/m.exec(body)?.[1]?.split(", ") ?? [];
  const [before = "", ...parted] = body.split(partStart);
  const parts = new Map([["", partOf(before)]]);
  for (let i = 0; i < parted.length; i += 2) parts.set(parted[i]!, partOf(parted[i + 1]!));
  return { title, alarms, parts };
}

function partOf(text: string): Part {
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  const lines = blocks.flatMap((block) => block.replaceAll("\\\n", " ").split("\n"));
  const commands = lines.map((line) => line.replace(/\s+#.*$/, "").trim()).filter((line) => line !== "");
  return { text: text.trim(), commands };
}
