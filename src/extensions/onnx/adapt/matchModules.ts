import {faultLines, listed, misfitError} from '../../../platform/errors';
import type {ModuleUpdate} from './moduleUpdates';
import {asModule, JOINED} from './moduleNames';
import type {Product} from './products';

/** The columns `from` to `to` of an update's `B`, which are outputs of a product from `at` on. */
export interface Piece {
  update: ModuleUpdate;
  from: number;
  to: number;
  at: number;
  /** Whether other modules have the other outputs of the product. */
  isJoined: boolean;
}

/** A module of a file: its products, several where the branches of an `If` have one each, and what they get. */
export interface FileModule {
  name: string;
  products: readonly Product[];
  pieces: Piece[];
}

/** Names with more parts are compared by their last ones. */
const MAX_PARTS = 16;

/**
 * Finds the products that the modules of an adapter stand for. Exporters change the beginning of a path, join q, k
 * and v or gate and up to one product, or split them.
 *
 * @throws LoRAError of code `ERR_MISFIT` if a module has no product, or one of another size.
 */
export function matchModules(products: readonly Product[], updates: readonly ModuleUpdate[]): FileModule[] {
  const modules = new ModuleIndex(products);
  const matched = new Set<FileModule>();
  const missing: string[] = [];
  for (const update of updates) {
    const places = placesOf(update, modules);
    if (places === undefined) {
      missing.push(update.path);
    }
    for (const {module, ...piece} of places ?? []) {
      module.pieces.push({update, ...piece});
      matched.add(module);
    }
  }
  if (missing.length > 0) {
    throw misfitError(
      `The file has no product for ${missing.length} of the adapter's ${updates.length} modules: ` +
        `${listed(missing, 5)}. Its products are ${modules.describe()}.`,
    );
  }
  const faults = [...matched].flatMap(module => faultsOf(module));
  if (faults.length > 0) {
    throw misfitError(`The adapter does not fit the file:\n${faultLines(faults)}`);
  }
  return [...matched];
}

/** The modules of a file by their names, and by the ends of these. */
class ModuleIndex {
  private readonly byName = new Map<string, FileModule>();
  /** The end of a name → its module; `null` if several names have that end. */
  private readonly byEnd = new Map<string, FileModule | null>();

  constructor(products: readonly Product[]) {
    for (const product of products) {
      const {names} = product;
      const name = names.find(candidate => candidate.includes('.')) ?? names[0] ?? product.y;
      const module: FileModule = this.byName.get(name) ?? {name, products: [], pieces: []};
      (module.products as Product[]).push(product);
      for (const alias of [name, ...names]) {
        if (!this.byName.has(alias)) {
          this.byName.set(alias, module);
          endsOf(alias).forEach(end => this.byEnd.set(end, this.byEnd.has(end) ? null : module));
        }
      }
    }
  }

  /** The module of a path: of the same name, else of the only one whose name ends with the path, or the other way. */
  find(path: string): FileModule | undefined {
    const longer = this.byName.get(path) ?? this.byEnd.get(path);
    return longer ?? endsOf(path).flatMap(end => this.byName.get(end) ?? [])[0];
  }

  /** The names, with a star for numbers. */
  describe(): string {
    const names = new Set([...this.byName.values()].map(({name}) => name.replace(/\d+/g, '*')));
    return listed([...names], 12) || 'none: it has no product with a constant matrix';
  }
}

/** The proper ends of a dotted path, the longest first. */
function endsOf(path: string): string[] {
  const parts = path.split('.').slice(-MAX_PARTS);
  return parts.slice(1).map((_, i) => parts.slice(i + 1).join('.'));
}

type Place = Omit<Piece, 'update'> & {module: FileModule};

/** Where the outputs of an update belong, or `undefined` if the file has no such product. */
function placesOf({path, b: {shape}}: ModuleUpdate, modules: ModuleIndex): Place[] | undefined {
  const name = asModule(path);
  const width = shape[1] ?? 0;
  const exact = modules.find(name);
  if (exact !== undefined) {
    return [{module: exact, from: 0, to: width, at: 0, isJoined: false}];
  }
  const leaf = name.slice(name.lastIndexOf('.') + 1);
  const sibling = (other: string) => modules.find(name.slice(0, name.length - leaf.length) + other);
  for (const [packed, parts] of Object.entries(JOINED)) {
    const module = parts.includes(leaf) ? sibling(packed) : undefined;
    if (module !== undefined) {
      // The first part begins the outputs. Those after it are equally wide, and end them.
      const behind = parts.length - parts.indexOf(leaf);
      const at = behind === parts.length ? 0 : (module.products[0]?.fanOut ?? 0) - behind * width;
      return [{module, from: 0, to: width, at, isJoined: true}];
    }
    if (leaf === packed) {
      const split = parts.map(sibling).filter(module => module !== undefined);
      let from = 0;
      const places = split.map((module, i) => {
        const to = i === parts.length - 1 ? width : from + (module.products[0]?.fanOut ?? 0);
        const place = {module, from, to, at: 0, isJoined: false};
        from = to;
        return place;
      });
      return split.length < parts.length ? undefined : places;
    }
  }
  return undefined;
}

/** What of an adapter does not fit a module of the file. */
function faultsOf({name, products, pieces}: FileModule): string[] {
  return products.flatMap(({fanIn, fanOut}) =>
    pieces.flatMap(({update: {path, a, b}, from, to, at, isJoined}, i) => {
      const [inputs = 0] = a.shape;
      const outputs = b.shape[1] ?? 0;
      const fits =
        inputs === fanIn && at >= 0 && to <= outputs && (isJoined ? at + to - from <= fanOut : to - from === fanOut);
      if (!fits) {
        return [
          `${name} computes ${fanIn} → ${fanOut}, and the adapter's module ${path} ${inputs} → ${outputs}. Is the ` +
            'file of another model?',
        ];
      }
      const rival = pieces
        .slice(0, i)
        .find(other => other.at < at + to - from && at < other.at + other.to - other.from);
      return rival === undefined
        ? []
        : [
            `${rival.update.path} and ${path} both fit ${name}. For one of the files of a model, pass the path of its ` +
              "modules, such as {prefix: 'model.encoder'}.",
          ];
    }),
  );
}
