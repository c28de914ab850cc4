/** What a promotion would do, in words, and whether it was said again what of it takes something away. */
import { invalid } from "../../lib/core/model/errors.ts";
import type { PromotionPlan, Side } from "../../lib/engine/operate/promotion-plan.ts";
import { bytes, pairs, plural } from "./text.ts";

const idsShownMax = 20;

interface Confirmed {
  readonly mirror: boolean;
  readonly confirmDeletions?: number;
  readonly confirmReturning?: number;
}

export const filesLine = ({ manifests }: Side): string => {
  const segments = manifests.flatMap((manifest) => manifest.segments);
  const size = segments
    .flatMap(({ files }) => Object.values(files))
    .reduce((sum, file) => sum + file.bytes, 0);
  const rows = segments.reduce((sum, segment) => sum + segment.rows, 0);
  return `it is empty there: ${plural(segments.length, "segment")} with ${plural(rows, "row")} are copied as they are, ${bytes(size)}`;
};

export function planLines(
  { counts, onlyThere, examples, refused, problems }: PromotionPlan,
  to: string,
  mirror: boolean,
): string[] {
  const ids = (kind: keyof typeof examples) =>
    examples[kind].slice(0, idsShownMax).map((id) => `  ${JSON.stringify(id)}`);
  return [
    pairs({
      added: counts.added,
      replaced: counts.replaced,
      deleted: counts.deleted,
      "deletes of nothing": counts.buried,
      "the same there": counts.same,
      "newer there": counts.older,
      [`only in ${to}`]: `${onlyThere}${mirror ? ", deleted" : ", kept"}`,
      ...(counts.returning > 0 ? { returning: counts.returning } : {}),
      ...(refused > 0 ? { refused } : {}),
    }),
    ...(counts.deleted > 0 ? ["deleted by a delete of the source:", ...ids("deleted")] : []),
    ...(mirror && onlyThere > 0 ? [`deleted since only ${to} has them:`, ...ids("onlyThere")] : []),
    ...(counts.returning > 0
      ? [`may have been deleted in ${to}, and the delete forgotten:`, ...ids("returning")]
      : []),
    ...problems
      .slice(0, idsShownMax)
      .map(({ id, field, reason }) => `refused: ${JSON.stringify(id)} ${field} ${reason}`),
  ];
}

const deletionsOf = ({ counts, onlyThere }: PromotionPlan, mirror: boolean): number =>
  counts.deleted + (mirror ? onlyThere : 0);

/** The options that say again what a dry run counted. */
export function confirmations(plan: PromotionPlan | null, mirror: boolean): string {
  if (plan === null) return "";
  const deletions = deletionsOf(plan, mirror);
  const { returning } = plan.counts;
  return [
    ...(deletions > 0 ? [` --confirm-deletions ${deletions}`] : []),
    ...(returning > 0 ? [` --confirm-returning ${returning}`] : []),
  ].join("");
}

/** Throws `invalid` where rows are refused, or more would be deleted or brought back than was said. */
export function checkConfirmed(plan: PromotionPlan, options: Confirmed, to: string): void {
  if (plan.refused > 0)
    throw invalid(
      `${plural(plan.refused, "row")} break a rule of the collection in ${to}; nothing was written`,
      plan.problems,
    );
  const named = (kind: keyof PromotionPlan["examples"]) =>
    plan.examples[kind].slice(0, 3).map((id) => JSON.stringify(id));
  const deletions = deletionsOf(plan, options.mirror);
  if (deletions > (options.confirmDeletions ?? 0)) {
    const shown = [...named("deleted"), ...(options.mirror ? named("onlyThere") : [])].join(", ");
    throw invalid(
      `${plural(deletions, "row")} of ${to} would be deleted (${shown}, …); nothing was written. Look by --dry-run, and say --confirm-deletions ${deletions}`,
    );
  }
  const { returning } = plan.counts;
  if (returning > (options.confirmReturning ?? 0))
    throw invalid(
      `${plural(returning, "row")} (${named("returning").join(", ")}, …) may have been deleted in ${to} so long ago that the delete is forgotten; ` +
        `nothing was written. Look by --dry-run, and say --confirm-returning ${returning}`,
    );
}
