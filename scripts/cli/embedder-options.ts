/** The options of `silt collection create` that say how texts are embedded. */
import { type Command, InvalidArgumentError } from "commander";
import type { CollectionOptions } from "../../lib/core/model/collection.ts";
import {
  bytesPerTokenMax,
  inputTokensMaxMost,
  type ProfileOptions,
  providers,
} from "../../lib/core/model/embedding-profile.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { integer, real } from "./arguments.ts";

export interface EmbedderOptions {
  readonly embedder?: "lexical" | Pick<ProfileOptions, "provider" | "model">;
  readonly documentPrefix?: string;
  readonly queryPrefix?: string;
  readonly inputTokens?: number;
  readonly bytesPerToken?: number;
  readonly shortened?: boolean;
  /** False with --no-normalise. */
  readonly normalise?: boolean;
}

export const addEmbedderOptions = (command: Command): Command =>
  command
    .option(
      "--embedder <name>",
      `embed texts: lexical (built in), or PROVIDER/MODEL with provider ${providers.join(", ")}`,
      embedderName,
    )
    .option("--document-prefix <text>", "put before each document, as the model was trained with")
    .option("--query-prefix <text>", "put before each query")
    .option("--input-tokens <n>", "most tokens of one text", integer(16, inputTokensMaxMost))
    .option(
      "--bytes-per-token <n>",
      `UTF-8 bytes that a token counts as, 1 to ${bytesPerTokenMax}; 1 is safe for every model`,
      real,
    )
    .option("--shortened", "ask the model for --dims dimensions, fewer than it has")
    .option("--no-normalise", "keep vectors' lengths as the provider gives them");

function embedderName(text: string): "lexical" | Pick<ProfileOptions, "provider" | "model"> {
  if (text === "lexical") return text;
  const [, name, model] = /^([a-z]+)\/(.+)$/.exec(text) ?? [];
  const provider = providers.find((one) => one === name);
  if (provider === undefined || model === undefined)
    throw new InvalidArgumentError(
      `It must be lexical, or PROVIDER/MODEL with provider ${providers.join(", ")}.`,
    );
  return { provider, model };
}

/** The profile as far as it was given; the model completes and checks it. Throws `invalid` for what has no embedder to be of. */
export function embedderOf(options: EmbedderOptions): CollectionOptions["embedder"] {
  const { embedder, documentPrefix, queryPrefix, inputTokens, bytesPerToken, shortened, normalise } = options;
  const given = {
    ...(documentPrefix === undefined ? {} : { documentPrefix }),
    ...(queryPrefix === undefined ? {} : { queryPrefix }),
    ...(inputTokens === undefined ? {} : { inputTokensMax: inputTokens }),
    ...(bytesPerToken === undefined ? {} : { bytesPerToken }),
    ...(shortened === undefined ? {} : { shortened }),
    ...(normalise === false ? { normalise } : {}),
  };
  if (embedder !== undefined && embedder !== "lexical") return { ...embedder, ...given };
  if (Object.keys(given).length > 0)
    throw invalid("--document-prefix, --input-tokens and the like are of --embedder PROVIDER/MODEL");
  return embedder;
}
