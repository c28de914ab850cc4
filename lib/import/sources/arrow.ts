/**
 * Arrow IPC, a record batch at a time: streams, and files. Of a file of which only a stream can be had, which is a stream behind
 * eight bytes, all is read without its footer; some writers leave the schema to that, and then a file is needed.
 */
import { type Field, type RecordBatch, RecordBatchReader, Type } from "apache-arrow";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import { Contents, type InputFile, identityOf } from "../inputs.ts";
import {
  type Cursor,
  emptyFields,
  type FieldNames,
  type ImportSource,
  pagesOf,
  rowsBefore,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
  usualFields,
} from "../source.ts";
import { checkedFile, checkedMessages } from "./arrow-messages.ts";
import { exportedFields, exportMark } from "./parquet.ts";

export class ArrowFiles implements ImportSource {
  readonly fields: FieldNames;
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #files: readonly InputFile[];

  private constructor(files: readonly InputFile[], fields: FieldNames) {
    this.#files = files;
    this.fields = fields;
  }

  /** Throws `invalid` when the first of them is no Arrow file. */
  static async open(files: readonly InputFile[]): Promise<ArrowFiles> {
    const [first] = files;
    // Standard input can be read once only.
    if (first === undefined || first.bytes === null) return new ArrowFiles(files, usualFields);
    for await (const reader of readersOf(new Contents([first], "binary"))) {
      const isExport = reader.reader.schema.metadata.has(exportMark);
      await reader.reader.cancel();
      return new ArrowFiles(files, isExport ? exportedFields : usualFields);
    }
    return new ArrowFiles(files, usualFields);
  }

  async describe(): Promise<SourceDescription> {
    return { rows: null, dims: null, metric: null, notes: [], identity: identityOf(this.#files) };
  }

  pages(after: Cursor | null): AsyncIterable<SourcePage> {
    const contents = new Contents(this.#files, "binary");
    const skipped = rowsBefore(after);
    return pagesOf(this.#items(contents, skipped), skipped, () => contents.progress);
  }

  async *#items(contents: Contents, skipped: number): AsyncGenerator<SourceItem> {
    let row = 0;
    for await (const { file, reader } of readersOf(contents)) {
      const first = row;
      const batches = reader[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await reading(file, () => batches.next());
          if (next.done === true) break;
          const batch = next.value as RecordBatch;
          for (let i = 0; i < batch.numRows; i++) {
            row += 1;
            if (row <= skipped) continue;
            const at = this.#files.length > 1 ? `${file.name} row ${row - first - 1}` : `row ${row - 1}`;
            yield { at, row: { metadata: fieldsOf(batch, i, file) } };
          }
        }
      } finally {
        // Who wants no more rows leaves the stream open else.
        await reader.cancel();
      }
    }
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
  }
}

async function* readersOf(contents: Contents) {
  for await (const { file, chunks } of contents.each()) {
    const reader = await reading(file, async () => {
      const handle = await checkedFile(file);
      const made =
        handle === null
          ? await RecordBatchReader.from(checkedMessages(chunks))
          : await RecordBatchReader.from(handle);
      return made.open();
    });
    yield { file, reader };
  }
}

function fieldsOf(batch: RecordBatch, row: number, file: InputFile): Record<string, unknown> {
  const fields = emptyFields();
  try {
    for (const [i, field] of batch.schema.fields.entries()) {
      const value: unknown = batch.getChildAt(i)?.get(row);
      fields[field.name] = value == null ? null : plainOf(field, value);
    }
  } catch (error) {
    throw unreadable(file, error);
  }
  return fields;
}

function plainOf({ typeId }: Field, value: unknown): unknown {
  const { toArray, toJSON } = value as { toArray?: () => unknown; toJSON?: () => unknown };
  switch (typeId) {
    case Type.Timestamp:
    case Type.Date:
      return new Date(Number(value));
    case Type.List:
    case Type.FixedSizeList: {
      const list = toArray === undefined ? value : toArray.call(value);
      return list instanceof Float64Array ? Array.from(list) : list;
    }
    case Type.Struct:
    case Type.Map:
      return toJSON === undefined ? value : toJSON.call(value);
    default:
      return value;
  }
}

async function reading<T>(file: InputFile, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw unreadable(file, error);
  }
}

const unreadable = ({ name }: InputFile, error: unknown): unknown =>
  error instanceof SiltstoneError
    ? error
    : invalid(`${name} cannot be read as Arrow: ${(error as Error).message}`);
