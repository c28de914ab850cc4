/** JSON whose integers stay as they are: a number that was rounded would be another one, an id or a value that was never written. */
import { parseExactly, type Reviver } from "../core/model/exact-json.ts";

const largeInteger = /[[:,]\s*-?\d{16,}\s*[,\]}]|^\s*-?\d{16,}\s*$/;

const exact: Reviver = (_, value, { source }) =>
  typeof value === "number" &&
  Number.isInteger(value) &&
  !Number.isSafeInteger(value) &&
  /^-?\d+$/.test(source ?? "")
    ? BigInt(source!)
    : value;

/** Integers that a number does not hold exactly are bigints. Throws a SyntaxError. */
export const parseWithIntegers = (text: string): unknown =>
  parseExactly(text, largeInteger.test(text) ? exact : undefined);
