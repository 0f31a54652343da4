import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';

/** Runs `f` in a folder and a web that have these files. */
export async function withFiles(files: Record<string, string | Uint8Array>, f: () => Promise<void>): Promise<void> {
  const [before, folder] = [process.cwd(), mkdtempSync(join(tmpdir(), 'tfjs-lora-files-'))];
  const onThisMachine = globalThis.fetch;
  const fetched = jest.spyOn(globalThis, 'fetch').mockImplementation((request, init) => {
    const url = request instanceof Request ? request.url : String(request);
    if (url.startsWith('http://127.0.0.1:')) {
      return onThisMachine(request, init);
    }
    return Promise.resolve(url in files ? new Response(files[url] as BodyInit) : new Response(null, {status: 404}));
  });
  // Arrays that Node itself makes are no arrays of jest's.
  const parsed = jest.spyOn(Response.prototype, 'json').mockImplementation(async function (this: Response) {
    return JSON.parse(await this.text()) as unknown;
  });
  for (const [path, content] of Object.entries(files).filter(([path]) => !/^https?:/.test(path))) {
    mkdirSync(dirname(join(folder, path)), {recursive: true});
    writeFileSync(join(folder, path), content);
  }
  process.chdir(folder);
  try {
    await f();
  } finally {
    process.chdir(before);
    fetched.mockRestore();
    parsed.mockRestore();
    rmSync(folder, {recursive: true, force: true});
  }
}
