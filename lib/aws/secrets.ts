/** Keys of providers, from Secrets Manager: read when first needed, and again every five minutes, so that a rotated one is met. */
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { SiltstoneError } from "../core/model/errors.ts";
import { isPlainObject } from "../core/model/metadata.ts";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { failure } from "./failure.ts";
import { patience, socketsMax } from "./request-handler.ts";

const keptMs = 300_000;

/** The key that the secret holds: its text, or the field `key` or `apiKey` where it is JSON. */
export function secretReader(arn: string): () => Promise<string> {
  const client = new SecretsManagerClient(patience(requestBounds.query, socketsMax));
  let known: { readonly atMs: number; readonly key: Promise<string> } | null = null;
  return () => {
    const nowMs = performance.now();
    if (known !== null && nowMs - known.atMs < keptMs) return known.key;
    const key = readKey(client, arn);
    known = { atMs: nowMs, key };
    // What could not be read is asked for again by the next call.
    key.catch(() => {
      known = null;
    });
    return key;
  };
}

async function readKey(client: SecretsManagerClient, arn: string): Promise<string> {
  const command = new GetSecretValueCommand({ SecretId: arn });
  const { SecretString: text = "" } = await client.send(command).catch((error: unknown) => {
    throw failure(error, {
      call: "Secrets Manager GetSecretValue",
      subject: arn,
      writes: false,
      permission: "secretsmanager:GetSecretValue",
    });
  });
  const key = keyOf(text);
  // It goes into a header. What does not fit there would be shown by the error that refuses it.
  if (/^[\x21-\x7e]{1,4096}$/.test(key)) return key;
  throw new SiltstoneError(
    "unavailable",
    `${arn}: the secret must be a key of printable ASCII characters, or JSON with it as "key" or "apiKey"`,
  );
}

/** Empty where JSON has neither field: its text is no key, and not to be sent as one. */
function keyOf(text: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text.trim();
  }
  if (!isPlainObject(value)) return text.trim();
  const key = value.key ?? value.apiKey;
  return typeof key === "string" ? key.trim() : "";
}
