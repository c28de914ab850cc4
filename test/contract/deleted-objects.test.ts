/** What was deleted from a versioned bucket, over the local stack's S3, and over real S3 when CONTRACT_AWS=1. */
import { S3DeletedObjects } from "../../lib/aws/s3-deleted-objects.ts";
import { S3ObjectStore } from "../../lib/aws/s3-object-store.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import { type S3Target, s3Targets } from "./aws-target.ts";

describe.each(s3Targets)("deleted objects over %s", (_name, open) => {
  let target: S3Target;
  let store: S3ObjectStore;
  beforeAll(async () => {
    target = await open();
    store = new S3ObjectStore(target.s3, target.bucket, new Traffic());
  });
  afterAll(() => target.close());

  test.each([1, 2, 3, 1000])("each key once, by its newest body, with pages of %i versions", async (page) => {
    const prefix = `${target.prefix}pages of ${page}/`;
    const put = (name: string, body: string) => store.put(prefix + name, Buffer.from(body));
    const remove = (...names: string[]) => store.delete(names.map((name) => prefix + name));
    await put("a", "before");
    await put("b", "deleted once");
    await remove("b");
    await put("c", "first");
    await remove("c");
    await put("c", "second!");
    await remove("c");
    await remove("c");
    await put("d", "deleted");
    await remove("d");
    await put("d", "there again");
    await put("e", "replaced");
    await put("e", "and deleted");
    await remove("e");
    await remove("never there");
    const deleted = new S3DeletedObjects(target.s3, target.bucket, page);
    const list = async (startAfter: string) => {
      const found = [];
      for await (const objects of deleted.list(prefix, { startAfter: prefix + startAfter }))
        for (const object of objects)
          found.push([object.key.slice(prefix.length), object.bytes, String(await deleted.get(object))]);
      return found;
    };
    expect(await list("")).toEqual([
      ["b", 12, "deleted once"],
      ["c", 7, "second!"],
      ["e", 11, "and deleted"],
    ]);
    expect(await list("b")).toEqual([
      ["c", 7, "second!"],
      ["e", 11, "and deleted"],
    ]);
    expect(await list("e")).toEqual([]);
  });

  test("a version that is gone is null; a refusal names the right that is missing", async () => {
    const deleted = new S3DeletedObjects(target.s3, target.bucket);
    const object = { key: `${target.prefix}gone`, bytes: 1, versionId: "0".repeat(32) };
    if (target.isLocal) expect(await deleted.get(object)).toBeNull();
    const elsewhere = new S3DeletedObjects(target.s3, "siltstone-no-such-bucket-3f81");
    const list = elsewhere.list("x", { startAfter: "" })[Symbol.asyncIterator]().next();
    await expect(list).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("S3 ListObjectVersions s3://siltstone-no-such-bucket-3f81/x"),
    });
  });
});
