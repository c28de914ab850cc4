/** Keys of providers, from Secrets Manager: read when first needed, and again every five minutes, so that a rotated one is met. */
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { SiltstoneError } from "../core/model/errors.ts";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { patience, socketsMax } from "./request-handler.ts";

const keptMs = 300_000;

/** The key that the secret holds: its text, or the field `key` or `apiKey` where it is JSON. */
export function secretReader(arn: string): () => Promise<string> {
  const client = new SecretsManagerClient(patience(requestBounds.query, socketsMax));
  let known: { readonly atMs: number; readonly key: Promise<string> } | null = null;
  return () => {
    const nowMs = performance.now();
    if (known !== null && nowMs - known.atMs < keptMs) return known.key;
    const key = client.send(new GetSecretValueCommand({ SecretId: arn })).then(
      ({ SecretString: text }) => keyOf(text ?? ""),
      (error: Error) => {
        known = null;
        throw new SiltstoneError(
          "unavailable",
          `the provider's secret cannot be read (${error.name}): ${arn}`,
        );
      },
    );
    known = { atMs: nowMs, key };
    return key;
  };
}

function keyOf(text: string): string {
  try {
    const { key, apiKey } = JSON.parse(text) as { key?: unknown; apiKey?: unknown };
    const found = key ?? apiKey;
    if (typeof found === "string") return found.trim();
  } catch {
    // The text itself is the key.
  }
  return text.trim();
}
