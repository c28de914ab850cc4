/** Base64 of vectors is taken and refused as its alphabet says, though Node's decoder passes over what is none of it. */
import { checkVector } from "../../../lib/core/model/vector.ts";
import { random } from "../../support/memory/clock.ts";

const alphabet = /^[A-Za-z0-9+/]*={0,2}$/;
const odd = ["=", "==", "-", "_", " ", "\n", "*", "é", "\u{1F600}", "\0", "A", "+", "/", ""];

test("10,000 texts, whole and damaged, of every length of padding", () => {
  const chance = random(1);
  const below = (limit: number) => Math.floor(chance() * limit);
  let taken = 0;
  for (let i = 0; i < 10_000; i++) {
    const dims = 1 + below(9);
    const bytes = Buffer.from(Float32Array.from({ length: dims }, () => 1 + chance()).buffer);
    let text = bytes.toString("base64");
    if (chance() < 0.3) text = text.replace(/=+$/, "");
    for (let changes = below(3); changes > 0; changes--) {
      const at = below(text.length + 1);
      text = text.slice(0, at) + odd[below(odd.length)] + text.slice(at + below(2));
    }
    const padding = /={0,2}$/.exec(text)![0].length;
    const given = Math.floor(((text.length - padding) * 3) / 4);
    const isVector =
      text.length <= Math.ceil(bytes.length / 3) * 4 && given === bytes.length && alphabet.test(text);
    const vector = checkVector({ dims, metric: "l2" }, text);
    const isRefused = typeof vector === "string" && vector.includes("base64");
    expect([text, isRefused]).toEqual([text, !isVector]);
    if (typeof vector === "string") continue;
    taken += 1;
    expect(Buffer.from(vector.buffer)).toEqual(Buffer.from(text, "base64"));
  }
  expect(taken).toBeGreaterThan(3_000);
});
