import {readFileSync} from 'node:fs';
import {pathToFileURL} from 'node:url';
import {cached, install} from '../../scripts/graphModels/cache';
import {mulberry32} from '../shared/random';

/** Rooms of which `@pmndrs/assets` has a panorama: photos of Poly Haven (CC0), 512 × 256 pixels. */
export const ROOMS = ['hall', 'lab', 'warehouse', 'workshop'] as const;

/** Which way a photo looks, in radians, and how wide its view is. */
interface View {
  yaw: number;
  pitch: number;
  width: number;
  exposure: number;
}

/** A panorama, all directions around a place: linear RGBA values, the lowest row first. */
interface Panorama {
  data: Float32Array;
  width: number;
  height: number;
}

/** What this uses of three. */
interface EXRModule {
  EXRLoader: new () => {setDataType: (type: number) => unknown; parse: (buffer: ArrayBuffer) => Panorama};
}
const FLOAT_TYPE = 1015;

const BRIGHTEST = 4;

/** Reads the panoramas. `three` decodes them; npm brings both packages to the cache outside of the repository. */
export async function loadPanoramas(): Promise<Panorama[]> {
  install(['three@0.187.0', '@pmndrs/assets@1.7.0']);
  const url = pathToFileURL(cached('three/examples/jsm/loaders/EXRLoader.js')).href;
  const {EXRLoader} = (await import(url)) as EXRModule;
  return ROOMS.map(room => {
    const [, base64 = ''] = /base64,([^"'`]+)/.exec(
      readFileSync(cached(`@pmndrs/assets/hdri/${room}.exr.js`), 'utf8'),
    )!;
    const loader = new EXRLoader();
    loader.setDataType(FLOAT_TYPE);
    const panorama = loader.parse(Uint8Array.from(atob(base64), byte => byte.charCodeAt(0)).buffer);
    return {...panorama, data: panorama.data.map(value => Math.min(value, BRIGHTEST))}; // lamps are infinite
  });
}

/** A view into one half of a room: no photo of the first half shows what one of the second shows. */
export function viewOf(half: 0 | 1, seed: number): View {
  const random = mulberry32(seed);
  const between = (low: number, high: number) => low + (high - low) * random();
  const width = between(1, 1.4);
  return {
    width,
    yaw: Math.PI * half + between(width / 2, Math.PI - width / 2),
    pitch: between(-0.25, 0.25),
    exposure: between(0.7, 1.4),
  };
}

/** The photo that a camera would take of a panorama: RGB values from 0 to 255. */
export function photo({data, width: columns, height: rows}: Panorama, view: View, size: number): Float32Array {
  const pixels = new Float32Array(3 * size * size);
  const reach = Math.tan(view.width / 2);
  const [sine, cosine] = [Math.sin(view.pitch), Math.cos(view.pitch)];
  for (let i = 0; i < size * size; i++) {
    const across = reach * ((2 * (i % size) + 1) / size - 1);
    const up = reach * (1 - (2 * Math.floor(i / size) + 1) / size);
    const [forward, above] = [cosine - up * sine, up * cosine + sine];
    const x = ((((view.yaw + Math.atan2(across, forward)) / (2 * Math.PI)) % 1) + 1) * columns - 0.5;
    const y = (0.5 + Math.atan2(above, Math.hypot(across, forward)) / Math.PI) * rows - 0.5;
    const [left, low] = [Math.floor(x), Math.max(0, Math.min(rows - 2, Math.floor(y)))];
    const [right, high] = [x - left, Math.max(0, Math.min(1, y - low))];
    const at = (row: number, column: number, channel: number) =>
      data[4 * (row * columns + (column % columns)) + channel]!;
    for (let channel = 0; channel < 3; channel++) {
      const below = at(low, left, channel) * (1 - right) + at(low, left + 1, channel) * right;
      const over = at(low + 1, left, channel) * (1 - right) + at(low + 1, left + 1, channel) * right;
      const light = view.exposure * (below * (1 - high) + over * high);
      pixels[3 * i + channel] = 255 * Math.min(1, Math.max(0, light)) ** (1 / 2.2);
    }
  }
  return pixels;
}
