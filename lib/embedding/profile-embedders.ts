/**
 * The embedders of a process by profile. Each profile has a breaker of its own; each provider and model has one connection and one count of tokens a byte
 * in a process; the rates are the whole stage's. Vectors of the latest queries are kept: a question is often asked again.
 */
import { createHash } from "node:crypto";
import pLimit from "p-limit";
import type { Collection } from "../core/model/collection.ts";
import type { EmbeddingProfile, ProviderName } from "../core/model/embedding-profile.ts";
import { invalid } from "../core/model/errors.ts";
import { BatchedEmbedder, type ProviderUse } from "./batched-embedder.ts";
import { Breaker } from "./breaker.ts";
import type { ProfileEmbedders } from "./collection-embedder.ts";
import type { Embedded, Embedder } from "./embedder.ts";
import type { EmbeddingClock, LimitTable, Provider } from "./provider.ts";
import type { ProviderAccess, Providers } from "./provider-access.ts";

export interface EmbeddingWorld {
  readonly providers: Providers;
  readonly limits: LimitTable;
  readonly clock: EmbeddingClock;
  /** Connects to a provider for one of its models; made once each. */
  connect(name: ProviderName, access: ProviderAccess, model: string): Promise<Provider>;
  /** Told when a collection's profile is used for the first time: what a log should say of how vectors are made. */
  readonly onFirstUse?: (use: ProfileUse) => void;
}

export interface ProfileUse {
  readonly collection: string;
  readonly provider: ProviderName;
  readonly model: string;
  readonly dims: number;
  readonly embeddingVersion: string;
}

/** Queries whose vectors are kept: 4,096 dims of all of them are 4 MiB. */
const queriesKept = 256;

export function batchedEmbedders(world: EmbeddingWorld): ProfileEmbedders {
  const uses = new Map<string, Promise<ProviderUse>>();
  const useOf = (name: ProviderName, model: string, access: ProviderAccess): Promise<ProviderUse> => {
    const key = `${name}/${model}`;
    const known = uses.get(key) ?? connected(world, name, model, access);
    uses.set(key, known);
    // What failed to connect is tried again by the next call.
    known.catch(() => uses.delete(key));
    return known;
  };
  const breakers = new Map<string, Breaker>();
  const breakerOf = (profile: EmbeddingProfile): Breaker => {
    const key = JSON.stringify(profile);
    const breaker = breakers.get(key) ?? new Breaker();
    breakers.set(key, breaker);
    return breaker;
  };
  const used = new Set<string>();
  return async (collection, profile) => {
    const { id, name, dims, embeddingVersion } = collection;
    const access = accessTo(world.providers, collection, profile);
    if (!used.has(id))
      world.onFirstUse?.({
        collection: name,
        provider: profile.provider,
        model: profile.model,
        dims,
        embeddingVersion,
      });
    used.add(id);
    const use = await useOf(profile.provider, profile.model, access);
    return new BatchedEmbedder(collection, profile, use, breakerOf(profile));
  };
}

/** For queries: as `batchedEmbedders`, with the latest vectors kept. */
export function queryEmbedders(world: EmbeddingWorld): ProfileEmbedders {
  const embedders = batchedEmbedders(world);
  const kept = new Map<string, Embedded>();
  return async (collection, profile): Promise<Embedder> => {
    const embedder = await embedders(collection, profile);
    const space = JSON.stringify([profile, collection.dims, collection.metric]);
    return {
      embedEach: (texts, purpose, options) => embedder.embedEach(texts, purpose, options),
      async embed(texts, purpose, options) {
        if (texts.length !== 1 || purpose !== "query") return embedder.embed(texts, purpose, options);
        const key = createHash("sha256").update(`${space}${texts[0]}`).digest("base64");
        const found = kept.get(key);
        const answer = found ?? (await embedder.embed(texts, purpose, options));
        // The latest stand last.
        kept.delete(key);
        kept.set(key, answer);
        for (const oldest of kept.keys()) {
          if (kept.size <= queriesKept) break;
          kept.delete(oldest);
        }
        return found === undefined ? answer : { ...answer, tokens: 0 };
      },
    };
  };
}

function accessTo(
  providers: Providers,
  { name }: Pick<Collection, "name">,
  { provider, model }: EmbeddingProfile,
): ProviderAccess {
  const access = providers[provider];
  if (access === undefined) {
    const known = Object.keys(providers).join(", ") || "none";
    throw invalid(
      `text: collection ${name} embeds by ${provider}, which this stage has no access to; it has ${known}`,
    );
  }
  if (!access.models.includes(model))
    throw invalid(
      `text: collection ${name} embeds by ${provider}/${model}, which this stage does not approve; approved are ${access.models.join(", ")}`,
    );
  return access;
}

async function connected(
  { connect, limits, clock }: EmbeddingWorld,
  name: ProviderName,
  model: string,
  access: ProviderAccess,
): Promise<ProviderUse> {
  const provider = await connect(name, access, model);
  return {
    provider,
    limits,
    clock,
    rates: access,
    inputsPerRequest: access.inputsPerRequest ?? provider.inputsMax,
    atOnce: pLimit(access.requestsAtOnce),
    // No text has more tokens than bytes.
    tokensPerByte: 1,
  };
}
