/** The stage's settings as they are now, and how they are changed. */
import { SiltstoneError } from "../core/model/errors.ts";
import type { Clock } from "../engine/ports.ts";
import type { JobTable } from "./ports.ts";
import {
  changedSettings,
  defaultSettings,
  encodeSettings,
  type JobSettings,
  parseSettings,
  storedSettings,
} from "./settings.ts";

export async function readSettings(table: Pick<JobTable, "readSettings">): Promise<JobSettings> {
  const stored = await table.readSettings();
  return stored === null ? defaultSettings : parseSettings(stored.text);
}

const attemptsMax = 8;

/** Changes what is given, and says in the audit log who did. Throws `invalid`, naming every key, its range and the value. */
export async function changeSettings(
  { table, clock }: { readonly table: JobTable; readonly clock: Clock },
  given: Readonly<Record<string, unknown>>,
  who: string,
): Promise<JobSettings> {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const stored = await table.readSettings();
    // What is stored is judged with what is given: a wrong setting can be set anew.
    const next = changedSettings(defaultSettings, {
      ...(stored === null ? {} : storedSettings(stored.text)),
      ...given,
    });
    if (!(await table.writeSettings(encodeSettings(next), stored?.revision ?? 0))) continue;
    const what = Object.entries(given).map(([name, value]) => `${name} = ${String(value)}`);
    await audit({ table, clock }, next, { who, what: `settings: ${what.join(", ")}` });
    return next;
  }
  throw new SiltstoneError("unavailable", "settings: others changed them meanwhile; repeat the call");
}

export const audit = (
  { table, clock }: { readonly table: JobTable; readonly clock: Clock },
  { keepDays }: Pick<JobSettings, "keepDays">,
  entry: { readonly who: string; readonly what: string },
): Promise<void> => table.addAudit({ id: clock.ulid(), ...entry }, clock.nowMs() + keepDays * 86_400_000);

/** How old the settings may be that a worker goes by. */
const freshMs = 2_000;

/** The settings, asked for again every two seconds. */
export function watchSettings(
  table: Pick<JobTable, "readSettings">,
  clock: Pick<Clock, "nowMs">,
): () => Promise<JobSettings> {
  let known: { readonly settings: JobSettings; readonly atMs: number } | null = null;
  return async () => {
    const atMs = clock.nowMs();
    if (known === null || Math.abs(atMs - known.atMs) >= freshMs)
      known = { settings: await readSettings(table), atMs };
    return known.settings;
  };
}
