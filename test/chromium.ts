// What tests in a browser share, in jest and outside of it.

import {readFileSync} from 'node:fs';
import type {Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {extname} from 'node:path';
import type {Browser} from 'playwright-core';

/** Where Debian's package puts the browser; another one is named in the environment. */
export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const ARGUMENTS = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--no-first-run',
  // A test's browser compiles a shader once: compiling ahead and packing what could be kept only takes time.
  '--disable-gpu-shader-disk-cache',
  '--disable-angle-features=warmUpPipelineCacheAtLink,enablePipelineCacheDataCompression',
  '--enable-angle-features=disableProgramCaching,disableProgramBinary',
];

/** WebGPU on a machine that has no graphics card. */
export const WEBGPU_ARGUMENTS = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  // SwiftShader compiles the zeroing of workgroup memory into every shader, which doubles the time to compile them. No
  // kernel counts on it.
  '--enable-dawn-features=disable_workgroup_init',
];

/**
 * A script that lets a page believe in a number of cores, from which tfjs takes its number of threads on wasm: half of
 * them, at most 8.
 */
export function manyCores(count: number): string {
  return `Object.defineProperty(navigator, 'hardwareConcurrency', {get: () => ${count}});`;
}

const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.jpg': 'image/jpeg',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.woff2': 'font/woff2',
};

/** The type of a file, by its name. */
export function contentType(file: string): string {
  return TYPES[extname(file)] ?? 'application/octet-stream';
}

/** Lets a server serve this machine alone, and gives its address. */
export async function listen(server: Server): Promise<string> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The peak of resident memory, in bytes, of the process of a browser's largest page. */
export async function rendererPeak(browser: Browser): Promise<number> {
  const session = await browser.newBrowserCDPSession();
  const {processInfo} = await session.send('SystemInfo.getProcessInfo');
  const peaks = processInfo
    .filter(({type}) => type === 'renderer')
    .map(({id}) => 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1]));
  return Math.max(...peaks);
}
