"""
Makes a directory of ChromaDB, and beside it what Chroma answers for all that is in it (expected.json):

    pip install chromadb==0.5.23
    python make.py FOLDER cosine|l2|ip && node pack.mjs FOLDER 0.5.23-cosine

Two collections get 2,500 writes in all (adds of what is there and what is not, upserts, updates with and without vectors, deletes), with
restarts between them: part of it ends in the index, part in the queue.
"""
import json
import os
import random
import shutil
import subprocess
import sys

ROUNDS, WRITES, IDS = 5, 500, 700


def write_round(folder: str, metric: str, number: int) -> None:
    client = connect(folder)
    notes = client.get_or_create_collection("notes", metadata={"hnsw:space": metric}, embedding_function=None)
    other = client.get_or_create_collection("other", embedding_function=None)
    if number == 0:
        other.add(ids=["x"], embeddings=[[1.0, 2.0]], documents=["other"])
    chance = random.Random(number)
    done = 0
    while done < WRITES:
        ids = chance.sample([f"n/{n}" for n in range(IDS)], chance.randint(20, 60))
        kind = chance.choice(["add", "upsert", "upsert", "update", "fields", "delete"])
        vectors = [[chance.randint(-40, 40) / 8 for _ in range(3)] + [1.0] for _ in ids]
        texts = [f"Ünïcode 漢字 {number} {one}" for one in ids]
        fields = [
            {"n": chance.randint(-5, 5), "f": chance.randint(0, 9) / 4, "s": one, "ok": chance.random() < 0.5} for one in ids
        ]
        if kind == "add":
            notes.add(ids=ids, embeddings=vectors, documents=texts, metadatas=fields)
        elif kind == "upsert":
            notes.upsert(ids=ids, embeddings=vectors, documents=texts, metadatas=fields)
        elif kind == "update":
            notes.update(ids=ids, embeddings=vectors, documents=texts)
        elif kind == "fields":
            notes.update(ids=ids, metadatas=[{"updated": number} for _ in ids])
        else:
            notes.delete(ids=ids[:20])
        done += len(ids)


def answer(folder: str) -> None:
    notes = connect(folder).get_collection("notes", embedding_function=None)
    found = notes.get(include=["embeddings", "documents", "metadatas"])
    rows = [
        {"id": id, "vector": [float(x) for x in vector], "document": document, "metadata": metadata}
        for id, vector, document, metadata in zip(
            found["ids"], found["embeddings"], found["documents"], found["metadatas"]
        )
    ]
    with open(os.path.join(folder, "expected.json"), "w") as file:
        json.dump(rows, file, ensure_ascii=False)


def connect(folder: str):
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(path=folder, settings=Settings(anonymized_telemetry=False))


if __name__ == "__main__":
    folder, metric, *step = sys.argv[1:]
    if step == ["answer"]:
        answer(folder)
    elif step:
        write_round(folder, metric, int(step[0]))
    else:
        shutil.rmtree(folder, ignore_errors=True)
        # A process of its own each: between two of them Chroma is restarted.
        for one in [*map(str, range(ROUNDS)), "answer"]:
            subprocess.run([sys.executable, __file__, folder, metric, one], check=True)
