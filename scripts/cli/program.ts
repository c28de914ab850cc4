/**
 * The command line: arguments in, one outcome out, printed for people or as JSON, and an exit code.
 *
 * With --json, stdout has the machine's answer and nothing else, also when something failed:
 * {"error":{"kind","message","problems"}}, and "refusal" where AWS refused the call. Progress and remarks go to stderr.
 */
import { Command, CommanderError } from "commander";
import { type Refusal, refusalOf } from "../../lib/aws/failure.ts";
import { cutText, errorTextBytesMax, SiltstoneError } from "../../lib/core/model/errors.ts";
import manifest from "../../package.json" with { type: "json" };
import { addAliasCommands } from "./alias-commands.ts";
import { addCollectionCommands } from "./collection-commands.ts";
import { addCompactCommands } from "./compact-commands.ts";
import { addCostCommand } from "./cost-command.ts";
import type { Connect } from "./deployment.ts";
import { addDlqCommands } from "./dlq-commands.ts";
import { addDoctorCommand } from "./doctor-command.ts";
import { addEmbedAllCommand } from "./embed-all-command.ts";
import { addEraseCommand } from "./erase-command.ts";
import { addEventCommands } from "./event-commands.ts";
import { type ExitCode, exitCodeHelp, exitCodeOfError, exitCodes } from "./exit-code.ts";
import { addExportChromaCommand } from "./export-chroma-command.ts";
import { addExportCommand } from "./export-command.ts";
import { addImportCommand } from "./import-command.ts";
import { addJobsCommands } from "./jobs-commands.ts";
import { addLeaseCommands } from "./lease-commands.ts";
import { addLogsCommand } from "./logs-command.ts";
import { addMetricsCommand } from "./metrics-command.ts";
import { print } from "./outcome.ts";
import { printing } from "./printable.ts";
import type { ErrorStream } from "./progress.ts";
import { addPromoteCommands } from "./promote-command.ts";
import { addQuarantineCommands } from "./quarantine-commands.ts";
import { addQueryCommand } from "./query-command.ts";
import { addRecordCommands } from "./record-commands.ts";
import { addRestoreCommand } from "./restore-command.ts";
import type { Runner } from "./runner.ts";
import { type InputStream, type OutputStream, Session } from "./session.ts";
import { addSnapshotCommands } from "./snapshot-commands.ts";
import { addStatusCommand } from "./status-command.ts";
import { chosenStore, localStage, type StoreOptions, stackVariable } from "./store-choice.ts";
import { addTextCommands } from "./text-commands.ts";
import { addUpkeepCommands } from "./upkeep-commands.ts";

export interface Surroundings {
  readonly connect: Connect;
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: ErrorStream;
  readonly interrupted: AbortSignal;
}

type Printing = Record<"stdout" | "stderr", OutputStream>;

/** Problems of one error that people are shown; --json has all. */
const problemsShownMax = 20;

export async function runCommandLine(argv: readonly string[], given: Surroundings): Promise<ExitCode> {
  const around = { ...given, stdout: printing(given.stdout), stderr: printing(given.stderr) };
  const program = new Command("silt");
  const json = argv.includes("--json");
  let exitCode: ExitCode = exitCodes.ok;
  const run: Runner =
    (work) =>
    async (...args) => {
      const store = chosenStore(program.opts<StoreOptions>(), process.env);
      const session = new Session({
        ...around,
        terminal: given.stderr,
        json,
        connect: (other = store) => around.connect(other),
      });
      const outcome = await work(session, ...args);
      print(outcome, json, around.stdout);
      exitCode = outcome.exitCode ?? exitCodes.ok;
    };
  describe(program, around, json);
  addCollectionCommands(program, run);
  addAliasCommands(program, run);
  addImportCommand(program, run);
  addExportCommand(program, run);
  addExportChromaCommand(program, run);
  addPromoteCommands(program, run);
  addRecordCommands(program, run);
  addEraseCommand(program, run);
  addQueryCommand(program, run);
  addStatusCommand(program, run);
  addDoctorCommand(program, run);
  addMetricsCommand(program, run);
  addCompactCommands(program, run);
  addUpkeepCommands(program, run);
  addSnapshotCommands(program, run);
  addLeaseCommands(program, run);
  addQuarantineCommands(program, run);
  addRestoreCommand(program, run);
  addDlqCommands(program, run);
  addEventCommands(program, run);
  addJobsCommands(program, run);
  addEmbedAllCommand(program, run);
  addTextCommands(program, run);
  addLogsCommand(program, run);
  addCostCommand(program, run);
  try {
    await program.parseAsync(storeFirst(argv), { from: "user" });
    return exitCode;
  } catch (error) {
    // Asked-for help and version come as errors with exit code 0; they are printed already.
    if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok;
    return report(error, isLocal(program.opts<StoreOptions>()), json, around);
  }
}

/**
 * The store may be named anywhere on the line. Of a bulk run (`embed-all`) a stage is a part of the items: a number, which no store is
 * called.
 */
function storeFirst(argv: readonly string[]): string[] {
  const first: string[] = [];
  const rest: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const [, name, inline] = /^--(stage|stack|json)(?:=(.*))?$/s.exec(argv[at]!) ?? [];
    const value = inline ?? argv[at + 1];
    const isPart = name === "stage" && rest.includes("embed-all") && /^\d/.test(value ?? "");
    if (argv[at] === "--") return [...first, ...rest, ...argv.slice(at)];
    if (name === undefined || isPart) rest.push(argv[at]!);
    else first.push(argv[at]!);
    if (name !== undefined && !isPart && name !== "json" && inline === undefined && value !== undefined)
      first.push(argv[++at]!);
  }
  return [...first, ...rest];
}

function describe(program: Command, around: Printing, json: boolean): void {
  program
    .description("Siltstone's command line: collections, records, queries, and what keeps them in order")
    .option("--stage <stage>", `a deployed stage, or ${localStage}, the default: the stack on this machine`)
    .option(
      "--stack <stack>",
      `any stack with a store, by its name or by a tag, KEY=VALUE (${stackVariable})`,
    )
    .option("--json", "print the result as one line of JSON", false)
    .version(manifest.version)
    .exitOverride()
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void around.stdout.write(text),
      // With --json the error follows on stdout, in its own form.
      writeErr: (text) => void (json ? undefined : around.stderr.write(text)),
      outputError: (text, write) => write(`${cutMiddle(text.trimEnd())}\n`),
    })
    .addHelpText(
      "after",
      `${exitCodeHelp}

Start:
  $ npm start                                  the local stack, where no store is named
  $ silt collection create docs --embedder lexical
  $ silt import docs --records notes.jsonl --wait
  $ silt query docs --text "how are deltas ingested"
`,
    );
}

/** As `chosenStore` decides: a stage that is given outranks the variable. */
const isLocal = ({ stage, stack }: StoreOptions): boolean =>
  stack === undefined && (stage === undefined ? !process.env[stackVariable] : stage === localStage);

function report(error: unknown, local: boolean, json: boolean, around: Printing): ExitCode {
  const known = asKnown(error);
  const failure = known
    ? { kind: known.kind, refusal: refusalOf(known), message: known.message, problems: known.problems }
    : {
        kind: "internal",
        refusal: null,
        message: cutMiddle(error instanceof Error ? error.message : String(error)),
        problems: [],
      };
  const exitCode = known ? exitCodeOfError(known) : exitCodes.failure;
  if (json) {
    const { refusal, ...others } = failure;
    const error = { ...others, ...(refusal === null ? {} : { refusal }) };
    around.stdout.write(`${JSON.stringify({ error })}\n`);
    return exitCode;
  }
  // Commander has printed its own.
  if (error instanceof CommanderError) return exitCode;
  around.stderr.write(`error (${failure.kind}): ${failure.message}\n`);
  for (const { id, index, field, reason } of failure.problems.slice(0, problemsShownMax)) {
    const which =
      id === undefined ? (index === undefined ? "" : `number ${index}: `) : `${JSON.stringify(id)}: `;
    around.stderr.write(`  ${which}${field} ${reason}\n`);
  }
  const hint = hintFor(failure, local);
  if (hint !== null) around.stderr.write(`→ ${hint}\n`);
  // A defect of ours: the stack says where.
  if (!known && error instanceof Error && error.stack) around.stderr.write(`${cutMiddle(error.stack)}\n`);
  return exitCode;
}

function asKnown(error: unknown): SiltstoneError | null {
  if (error instanceof SiltstoneError) return error;
  if (!(error instanceof CommanderError)) return null;
  return new SiltstoneError("invalid", cutMiddle(error.message.replace(/^error: /, "")));
}

/** Commander repeats an argument whole, and says behind it what is wrong with it. */
function cutMiddle(text: string): string {
  const part = Math.floor(errorTextBytesMax / 2) - 1;
  const isShort = text.length <= 2 * part;
  return isShort ? cutText(text, errorTextBytesMax) : cutText(text, part) + cutText(text.slice(-part), part);
}

const nothingAnswers = /ECONNREFUSED|local stack is not running|ECONNRESET|TimeoutError/;

function hintFor(
  { kind, refusal, message }: { kind: string; refusal: Refusal | null; message: string },
  local: boolean,
): string | null {
  if (/`(silt|npx|npm|aws) /.test(message)) return null; // The message itself says what to do.
  if (local && nothingAnswers.test(message)) return "start the local stack: `npm start`";
  if (refusal === "region") return "say where the stage is deployed, e.g. AWS_REGION=eu-central-1";
  if (refusal === "denied")
    return "the operator policy of docs/security.md has every right that this command line needs";
  switch (kind) {
    case "conflict":
      return "look again with `silt status`, then repeat the command";
    case "uncertain":
      return "repeating the command is safe: a write that happened twice changes nothing";
    case "unavailable":
      return "try again in a moment; `silt status` shows what is wrong";
    case "corrupt":
      return "`silt verify NAME` names every damaged object; docs/runbook.md says how to mend each";
    default:
      return null;
  }
}
