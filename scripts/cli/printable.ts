/**
 * What may reach a terminal. Ids, documents, reasons and bad lines come from others: an escape sequence in one of them
 * could rewrite the screen, set the title, or fill the clipboard of the person who looks; a bidirectional control could show one
 * text as another. Everything that the command line prints passes through here, and such characters are printed as
 * JSON's escapes for them, so that --json still says exactly what is stored.
 */
import type { OutputStream } from "./session.ts";

/**
 * C0 but tab and line feed, DEL and C1, bidirectional controls, separators of lines and paragraphs, and what is invisible.
 * The two joiners stay: emoji and several scripts need them.
 */
const unprintable =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g;

export const printable = (text: string): string =>
  text
    .toWellFormed()
    .replace(unprintable, (character) =>
      Array.from(
        { length: character.length },
        (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`,
      ).join(""),
    );

/** The stream, but whatever is written is made printable. */
export const printing = (stream: OutputStream): OutputStream => ({
  write: (text) => stream.write(printable(text)),
});
