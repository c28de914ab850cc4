/** docs/troubleshooting.md: its commands are some that there are, with options that they have; its sections are the runbook's. */
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { runCommandLine } from "../../scripts/cli/program.ts";
import { Runbook } from "./runbook.ts";

const text = readFileSync("docs/troubleshooting.md", "utf8");
const rows = text.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("| What you see"));
const commands = [...new Set([...text.matchAll(/npx silt [^`\n]+/g)].map(([command]) => command))];
const runbook = new Runbook(() => Promise.reject(new Error("nothing is run here")));

test("each symptom names what to do: a command, a section of the runbook, or a document", () => {
  expect(rows.length).toBeGreaterThan(25);
  const titles = [...runbook.sections.keys()];
  for (const row of rows) {
    const [symptom, , advice = ""] = row.split(" | ");
    expect([symptom, advice.length > 2]).toEqual([symptom, true]);
    for (const [, section] of advice.matchAll(/"([A-Z][^"…]*)"/g))
      expect([section, titles.some((title) => title.startsWith(section!))]).toEqual([section, true]);
  }
});

test.each(commands)("%s is a command, and gets as far as the store", async (command) => {
  const said = { err: "" };
  const code = await runCommandLine(
    command
      .replace("--stack NAME", "")
      .replace("NAME", "docs")
      .replace("FILE", "package.json")
      .trim()
      .split(/\s+/)
      .slice(2),
    {
      connect: () => Promise.reject(new Error("reached the store")),
      stdin: Readable.from([]),
      stdout: { write: () => {} },
      stderr: {
        write: (part: string) => {
          said.err += part;
        },
      },
      interrupted: new AbortController().signal,
    },
  );
  expect([command, code, said.err]).toEqual([command, 1, expect.stringContaining("reached the store")]);
});
