// Every change that an import of the library makes to tfjs: for docs/what-import-changes.md, and for the test that
// compares it with what really changes.

/** A change that this library makes to TensorFlow.js outside of its own objects. */
export interface Change {
  /** What is changed. */
  readonly what: string;
  /** The file of `src` that changes it. */
  readonly by: string;
  readonly why: string;
  /** From when until when. */
  readonly lasts: string;
  /** How to avoid it. */
  readonly without: string;
  /**
   * Which globals differ: `+` is added, `≠` is replaced, `*` matches any name. Left out if no global changes. The first
   * row that matches counts.
   */
  readonly globals?: readonly string[];
}

/** Where a change cannot be undone. */
const NO_IMPORT = 'use a page, worker, or process that does not import the library';
const BACKEND_SET = 'from when the backend is set, or from the import on if it is already set';

const KERNELS_LOADED =
  "in Node and with script tags, as on cpu. Elsewhere when the library's kernels have loaded, which " +
  "`await tf.setBackend('wasm')` waits for";

/** All of them, those of an import first. */
export const CHANGES: readonly Change[] = [
  {
    what: '`tf.engine().setupRegisteredKernels` is wrapped.',
    by: 'backends/shared/lifecycle.ts',
    why:
      'The library fixes and adds kernels when a backend is set, whichever package was imported first. tfjs has ' +
      'no event for this.',
    lasts: 'from the import on',
    without:
      "`Reflect.deleteProperty(tf.engine(), 'setupRegisteredKernels')`. Backends that you set later keep their kernels",
    globals: ['+ engine.setupRegisteredKernels', '+ engine.Symbol(*)'],
  },
  {
    what:
      '`tf.engine().initializeBackend` and `tf.engine().ready` are wrapped. While the first one runs, the factory of wasm ' +
      'is replaced.',
    by: 'backends/shared/backendParts.ts',
    why:
      'Kernels for wasm are loaded with the backend: `tf.setBackend` waits for both. If the backend was set first, ' +
      '`tf.ready` waits for the kernels.',
    lasts: 'from the import on',
    without: NO_IMPORT,
    globals: ['+ engine.initializeBackend', '+ engine.ready'],
  },
  {
    what: 'In **Node**, a handler for `file://` URLs is registered.',
    by: 'node/fileRouter.ts',
    why:
      'Plain tfjs has none in Node. It lets `model.save` and `tf.loadLayersModel` use the disk. If tfjs-node is ' +
      'loaded, its handler is used.',
    lasts: 'from the import on',
    without: 'register your own `file://` handler, before or after',
    globals: ['≠ router to save file://', '≠ router to load file://'],
  },
  {
    what: 'Kernels and gradients whose names begin with `TfjsLoRA` are registered with the current backend.',
    by: 'platform/tfjs/lazyOp.ts',
    why:
      'With a registered kernel, tfjs requests only the gradients that it needs. `tf.customGrad` computes all ' +
      'of them, including those of frozen weights.',
    lasts: 'from the first time that a layer uses one',
    without: 'only layers of this library use them. `removeLoRA` and `mergeLoRA` return stock layers',
    globals: ['+ kernel *_TfjsLoRA*', '+ gradient TfjsLoRA*'],
  },
  {
    what:
      'On **wasm**, nine kernels throw until the kernels of the library are there: `Conv2DBackpropFilter`, ' +
      '`DepthwiseConv2dNativeBackpropFilter`, `DepthwiseConv2dNativeBackpropInput`, and `UnsortedSegmentSum`, which ' +
      'tfjs lacks, and `Conv3DBackpropInputV2`, `Conv3DBackpropFilterV2`, `MaxPoolGrad`, `MaxPool3DGrad`, and ' +
      '`ResizeNearestNeighborGrad`, which it computes incorrectly.',
    by: 'backends/shared/backendParts.ts',
    why:
      'The error says what to wait for (`ERR_NOT_READY`), or why the kernels could not be loaded (`ERR_IO`). tfjs ' +
      'would say that a kernel is not registered, or return wrong numbers.',
    lasts: 'from when the backend is set, or from the import on if it is already set, until the kernels have loaded',
    without: NO_IMPORT,
    globals: [
      '+ kernel wasm_Conv2DBackpropFilter',
      '+ kernel wasm_DepthwiseConv2dNativeBackprop*',
      '+ kernel wasm_UnsortedSegmentSum',
    ],
  },
  {
    what:
      'On **wasm**, kernels that training needs are added, incorrect ones are fixed, and slow ones are replaced. ' +
      'For example, `GatherV2` with `batchDims`, `OneHot` of floats or truth values, `Cast` to truth values, ' +
      '`FloorDiv` and `Mod` of integers, `MaxPoolGrad`, and `MaxPoolWithArgmax` are fixed. So are convolutions and pools with a number ' +
      'as pad, `PadV2` with negative margins, `Transpose` of empty tensors, `Prelu` with slopes that are not finite, and ' +
      'the gradients of resizes with half pixels. `Slice`, `Prelu`, `GatherNd`, and the ' +
      'scatter operations throw where they would read or write outside of a tensor. ' +
      "`tf.getKernelsForBackend('wasm')` lists the kernels. Each holds the kernel that it replaced under " +
      "`Symbol.for('tfjs-lora.kernel')`.",
    by: 'backends/shared/registration.ts',
    why:
      "Without them, wasm can't train a convolution. `predict` of a stock model returns the same bits as before, " +
      'unless it uses an operation that wasm computes wrongly.',
    lasts: KERNELS_LOADED,
    without: NO_IMPORT,
    globals: [
      '+ kernel wasm_Conv2DBackpropFilter',
      '+ kernel wasm_DepthwiseConv2dNativeBackprop*',
      '+ kernel wasm_UnsortedSegmentSum',
      '+ kernel wasm_Relu*Grad',
      '≠ kernel wasm_*',
    ],
  },
  {
    what:
      'On **cpu**, the kernels `FusedBatchNorm`, `MaxPool3DGrad`, `ResizeBilinearGrad`, and ' +
      '`ResizeNearestNeighborGrad` are replaced.',
    by: 'backends/shared/registration.ts',
    why:
      '`FusedBatchNorm` normalizes channels-first images with the wrong statistics. The gradients are wrong for ' +
      'non-square windows and images, and for batches.',
    lasts: BACKEND_SET,
    without: NO_IMPORT,
    globals: [
      '≠ kernel cpu_FusedBatchNorm',
      '≠ kernel cpu_MaxPool3DGrad',
      '≠ kernel cpu_ResizeBilinearGrad',
      '≠ kernel cpu_ResizeNearestNeighborGrad',
    ],
  },
  {
    what:
      'On **tensorflow**, the kernels `MatMul`, `ReluGrad`, `Relu6Grad`, `SigmoidGrad`, `TanhGrad`, and ' +
      '`Transform` and a gradient of `MatMul` are added. `Conv2DBackpropFilter` is replaced.',
    by: 'backends/node/tensorflow.ts',
    why:
      'TensorFlow has these kernels, but tfjs-node does not expose them. `Transform` serves ' +
      '`tf.image.transform`; only this library calls the others. The stock kernel gradient of convolutions ' +
      '[corrupts the heap](backends.md#what-differs).',
    lasts: BACKEND_SET,
    without: 'tfjs does not call the others',
    globals: ['+ kernel tensorflow_*', '≠ kernel tensorflow_Conv2DBackpropFilter', '+ gradient MatMul'],
  },
  {
    what: 'Gradients of `Conv3DBackpropInputV2` (`tf.conv3dTranspose`) and `DepthToSpace` are added.',
    by: 'backends/backends.ts',
    why: 'tfjs has none on any backend.',
    lasts: 'from the import on',
    without: NO_IMPORT,
    globals: ['+ gradient Conv3DBackpropInputV2', '+ gradient DepthToSpace'],
  },
  {
    what: '`fit` and `fitDataset` of `tf.LayersModel.prototype` are wrapped.',
    by: 'core/training/callback.ts',
    why:
      'A list that mixes callbacks of this library with plain objects of functions is refused before the fit. tfjs ' +
      'ignores one kind, or fails in the middle.',
    lasts: 'from the import on',
    without: NO_IMPORT,
    globals: [
      '≠ tf.LayersModel.prototype.fit',
      '≠ tf.LayersModel.prototype.fitDataset',
      '+ tf.LayersModel.prototype.Symbol(tfjs-lora.checksCallbacks)',
    ],
  },
  {
    what: '`trainOnBatch` of `tf.LayersModel.prototype` is wrapped.',
    by: 'platform/tfjs/training.ts',
    why:
      'It warns if it trains a model that was passed to `applyLoRA` while the adapted model is neither compiled nor ' +
      'called.',
    lasts: 'from the import on',
    without: 'nothing to do: all models are trained as before',
    globals: ['≠ tf.LayersModel.prototype.trainOnBatch'],
  },
  {
    what: 'Each `fit` waits in a callback before yours.',
    by: 'backends/shared/kernelWatch.ts',
    why: 'If wasm was set before the library was imported, its kernels are still being loaded. `fit` waits for them.',
    lasts: 'from the import on, by `tf.registerCallbackConstructor`',
    without: 'it does nothing once the kernels are there',
    globals: ['+ callback KernelWatch'],
  },
  {
    what: 'Each `fit` runs a callback before yours.',
    by: 'core/model/fits.ts',
    why:
      'It records the adapter with which the fit began, so that no step silently trains another one, and whose ' +
      'moments the optimizer has.',
    lasts: 'from the import on, by `tf.registerCallbackConstructor`',
    without:
      'it changes nothing in models without layers or an optimizer of this library. `model.trainOnBatch` runs no ' +
      'callbacks',
    globals: ['+ callback FitWatch'],
  },
  {
    what: 'Each `fit` runs another callback before yours.',
    by: 'core/training/epochMeans.ts',
    why: 'If a run is resumed within an epoch, tfjs would average losses and metrics only over the batches after that.',
    lasts: 'from the first call of `checkpoint` or `resume` on, by `tf.registerCallbackConstructor`',
    without: 'do not call them. It does nothing in other fits',
    globals: ['+ callback EpochMeans'],
  },
  {
    what: 'Layer and optimizer classes are registered, for example as `tfjs-lora>LoRADense`.',
    by: 'platform/tfjs/configs.ts',
    why: '`tf.loadLayersModel` can then load adapted models.',
    lasts: 'from the import on, by `tf.serialization.registerClass`',
    without:
      'the prefix keeps these names apart from yours. Names in older files (`LoRADense`) are read if they are free',
    globals: ['+ class *'],
  },
  {
    what:
      '**`tfjs-lora/graph`** adds 17 gradients that tfjs lacks (`GatherNd`, `ScatterNd`, `SparseToDense`, ' +
      '`TensorScatterUpdate`, `TopK`, `StridedSlice`, `Einsum`, `Cumprod`, `CropAndResize`, comparisons) and ' +
      'fixes 14 (`AvgPool`, `BatchMatMul`, `Maximum`, `Minimum`, `SquaredDifference`, `MirrorPad`, ' +
      '`ResizeBilinear`, `ResizeNearestNeighbor`, `Cumsum`, `GatherV2`, `Prod`, `SplitV`, `Tile`, `Unpack`). It fixes the kernels ' +
      '`Cumsum` and `Cumprod`, and `StridedSlice`. It computes `Einsum` with matrix products on ' +
      'cpu, wasm (which has no such kernel), webgl, and webgpu. On webgl, it fixes `FloorDiv` of floats. On webgpu, it ' +
      'fixes `AddN` of eight tensors or more, `Cast` of integers to floats, ' +
      '`Transpose`, `Sum`, `Prod`, `Max`, and `Min` of integers, and those that compute with two tensors (19) if one is a vector ' +
      'and the other has five or six axes.',
    by: 'extensions/graph/gradients/graphGradients.ts',
    why:
      'Published graphs use these operations. The fixed gradients ignored broadcasting, mirrored entries, ' +
      'windows at the border, negative axes, batch dimensions, single parts, or ranks above 4. The stock `Einsum` needs memory for all axes at ' +
      'once.',
    lasts: 'from the import of `tfjs-lora/graph` on',
    without: 'do not import `tfjs-lora/graph`',
    globals: [
      '+ kernel wasm_Einsum',
      ...['GatherNd', 'ScatterNd', 'SparseToDense', 'TensorScatterUpdate', 'TopK', 'StridedSlice'].map(
        of => `+ gradient ${of}`,
      ),
      ...['Einsum', 'Cumprod', 'CropAndResize', 'LogicalNot', 'LogicalAnd', 'LogicalOr'].map(of => `+ gradient ${of}`),
      ...['Equal', 'NotEqual', 'Greater', 'Less', 'LessEqual'].map(of => `+ gradient ${of}`),
      ...['AvgPool', 'BatchMatMul', 'Maximum', 'Minimum', 'SquaredDifference'].map(of => `≠ gradient ${of}`),
      ...['MirrorPad', 'ResizeBilinear', 'ResizeNearestNeighbor', 'Cumsum'].map(of => `≠ gradient ${of}`),
      ...['GatherV2', 'Prod', 'SplitV', 'Tile', 'Unpack'].map(of => `≠ gradient ${of}`),
    ],
  },
  {
    what: '**`tfjs-lora/graph`** registers a handler that loads `hf://` addresses.',
    by: 'extensions/graph/import/hubRouter.ts',
    why: "It lets `tf.loadGraphModel('hf://org/name/model.json')` read the Hugging Face hub.",
    lasts: 'from the import of `tfjs-lora/graph` on',
    without: 'register your own `hf://` handler before',
    globals: ['≠ router to load hf://'],
  },
  {
    what:
      'On webgl and webgpu, the kernel `Add` is replaced. It holds the stock kernel under ' +
      "`Symbol.for('tfjs-lora.kernel')` and calls it for all other sums.",
    by: 'extensions/quantized/ops/addKernel.ts',
    why:
      'A sum with a product of a quantized layer, such as a residual connection, is computed in the launch of the ' +
      'product.',
    lasts: 'from the first product of a quantized layer on',
    without: 'use a page, worker, or process without quantized layers',
  },
  {
    what: '`tf.LayersModel.prototype.summary` is wrapped.',
    by: 'platform/tfjs/configs.ts',
    why:
      'Its columns are too narrow for class names such as `tfjs-lora>LoRADense`, so it prints those of this ' +
      'library without the prefix: `dense_1 (LoRADense)`.',
    lasts: 'from the import on',
    without: 'nothing to do: it prints all other layers as before',
    globals: ['≠ tf.LayersModel.prototype.summary'],
  },
  {
    what: '`compile` of `tf.LayersModel` and `tf.Sequential` is wrapped.',
    by: 'platform/tfjs/compiled.ts',
    why:
      'It records which models use an optimizer of this library, such as `adam()`, so that `disposeModel` and ' +
      'compiling again can free it.',
    lasts: 'from the import on',
    without: 'nothing to do: models are compiled as before, and no optimizer of tfjs is freed',
    globals: ['≠ tf.LayersModel.prototype.compile', '≠ tf.Sequential.prototype.compile'],
  },
  {
    what: '`tf.layers.Layer.prototype.addWeight` is replaced.',
    by: 'platform/tfjs/weightLimit.ts',
    why:
      'When a model is adapted, merged, or restored, the new layers share the buffers of the old ones instead ' +
      "of allocating their own. Layers of a head in an adapter file start as zeros and can't be larger than the " +
      'file.',
    lasts: 'while such layers are built, synchronously',
    without: 'load adapted models with `tf.loadLayersModel`, which does not use it',
    globals: ['≠ tf.layers.Layer.prototype.addWeight'],
  },
  {
    what: 'The entries of `tf.serialization.SerializationMap` are wrapped.',
    by: 'platform/tfjs/keepingNames.ts',
    why: 'Custom layers whose constructor ignores its config would otherwise lose their names.',
    lasts: 'while a model is rebuilt from its config (apply, merge, remove), synchronously',
    without: 'load adapted models with `tf.loadLayersModel`, which does not use it',
    globals: ['≠ class *'],
  },
  {
    what: 'Variables of layers in an adapted model read as other tensors and are not written to.',
    by: 'platform/tfjs/weights.ts',
    why: 'A layer of any class can then compute with updated weights, and keeps its statistics while frozen.',
    lasts: 'while such a layer is called',
    without: 'nothing to do: these are copies. Layers of the model that you pass in are never touched',
  },
  {
    what: 'Variables of an adapted model get values of another shape, or refuse to be read.',
    by: 'platform/tfjs/weights.ts',
    why: '`setAdapter` accepts adapters of another rank or method without recompiling the model.',
    lasts: 'until another adapter is set',
    without: 'use `applyLoRA(base, adapter)` instead',
  },
  {
    what: 'Stock recurrent cells in an adapted model get their own `call` method.',
    by: 'core/layers/recurrentCells.ts',
    why: 'The stock method records gradients of frozen weights for every time step.',
    lasts: 'as long as the model exists',
    without: 'nothing to do: these are copies. `removeLoRA` and `mergeLoRA` return stock cells',
  },
  {
    what: 'The tape of tfjs is read, and restored after a gradient is computed inside a backward pass.',
    by: 'platform/tfjs/engine.ts',
    why: 'No gradient is prepared for operations without trainable inputs, and checkpointed blocks are recomputed.',
    lasts: 'while a layer of this library computes',
    without: 'use only stock layers',
  },
  {
    what: 'Tensors that tfjs keeps until the end of a backward pass are freed during the pass.',
    by: 'platform/tfjs/lazyOp.ts',
    why:
      'A step needs less memory. Once the gradients of an operation are computed, its saved tensors are no ' +
      'longer needed. Tensors that tfjs saves only for their shapes (reshape, add, concat) are freed at the start.',
    lasts: 'during a backward pass through layers of this library',
    without: "nothing to do: tensors whose values tfjs's operations need are not freed early",
  },
  {
    what: 'Some results belong to an unlisted backend that computes them when they are read.',
    by: 'backends/shared/deferred.ts',
    why:
      'A convolution waits for the normalization and ReLU that follow, so that one kernel computes all three. ' +
      'On webgl and webgpu, a product with a quantized matrix waits for other products of the same input, or for a ' +
      "sum. On webgl, variables that this library's optimizers update share a texture until another kernel needs " +
      'one of them.',
    lasts:
      'while an adapted model trains or a quantized layer computes; on webgl until another kernel reads the variable',
    without:
      'nothing to do: `tensor.dataSync()` and all kernels read them as usual. Stock optimizers leave variables ' +
      'as they are',
  },
  {
    what:
      'On wasm, a WebAssembly module of this library uses the memory of the backend. It has its own threads if ' +
      'tfjs uses threads.',
    by: 'backends/wasm/module/native.ts',
    why:
      'Gradients take half the time and can use several threads. The module is tested before use and is not ' +
      'used if its results differ.',
    lasts: 'from the first kernel that uses it until the backend is disposed',
    without: 'a content security policy without `script-src blob:` prevents the threads',
  },
  {
    what: "Tensor data is moved to another backend with the engine's `moveData`.",
    by: 'platform/tfjs/move.ts',
    why: 'tfjs moves a tensor only when a kernel needs it, with a synchronous read.',
    lasts: 'during a call of `moveTo`',
    without: 'do not call it',
  },
  {
    what: 'On webgl and webgpu, `dataMover` of the tensor table is replaced.',
    by: 'platform/tfjs/handOver.ts',
    why: 'Deferred results stay on the card when another kernel needs them. tfjs would download and upload them again.',
    lasts: 'from the first such tensor on. Other tensors move as before',
    without: 'stop training, or use another backend',
  },
  {
    what: 'The methods `uploadToGPU`, `runWebGPUProgram`, and `bufferManager.acquireBuffer` of webgpu are wrapped.',
    by: 'platform/tfjs/repairs.ts',
    why:
      'A program that reads an empty tensor spoils the results that wait with it, `tf.gather` along an empty axis ' +
      'reads beyond the tensor, and `tf.cumsum({reverse: true})` is wrong after one of another length.',
    lasts: 'from when the programs for webgpu are loaded until the backend is removed',
    without: 'use a page, worker, or process that does not import the library',
  },
  {
    what:
      'The methods `read`, `readSync`, `runWebGLProgram`, and `runWebGPUProgram` of the webgl and webgpu ' +
      'backends are wrapped.',
    by: 'platform/tfjs/guardGraphicsCard.ts',
    why:
      'After the graphics card is lost, tfjs waits forever or returns zeros. The wrapped methods throw instead, ' +
      'and so do synchronous reads on webgpu that would return zeros.',
    lasts:
      "from when the library's code for the backend has loaded, which `await tf.setBackend('webgpu')` waits for, " +
      'until the backend is removed',
    without: NO_IMPORT,
  },
  {
    what:
      'On webgl and webgpu, quantized matrices keep their data in page memory after upload. On webgl, the ' +
      'uploaded form is stored where tfjs stores the parts of complex tensors.',
    by: 'platform/tfjs/cardData.ts',
    why:
      'tfjs drops the data, and reading it back from a card is slow or asynchronous. The uploaded form is freed ' +
      'with the matrix.',
    lasts: 'as long as the tensor exists',
    without: 'do not import `tfjs-lora/quantized` or `tfjs-lora/language`',
  },
  {
    what:
      "In **Node**, `startWasm` sets the flag `WASM_HAS_MULTITHREAD_SUPPORT`, tfjs-backend-wasm's thread count, and " +
      'the `Worker` class of `node:worker_threads` while it starts the wasm backend.',
    by: 'node/wasmThreads.ts',
    why:
      'tfjs starts its build with shared memory in pages only. That build starts workers which the library does not ' +
      'need: they are replaced by objects that do nothing.',
    lasts: 'during `startWasm` with more than one thread. The thread count is then the default again',
    without: "use `tf.setBackend('wasm')`, with one thread",
  },
  {
    what: 'On wasm, `_malloc` of the compiled module throws if memory is full.',
    by: 'platform/tfjs/guardHeap.ts',
    why: 'tfjs would write to address 0 and overwrite other tensors.',
    lasts: "from when the library's kernels have loaded until the backend is removed",
    without: NO_IMPORT,
  },
  {
    what:
      'On webgpu, a program of this library is passed to tfjs with its own pipeline, and the private command ' +
      'encoder copies buffers.',
    by: 'backends/webgpu/program.ts',
    why:
      "tfjs's `runWebGPUProgram` supports programs with a single output; ours have several. tfjs can't copy a " +
      'part of a buffer.',
    lasts: 'while such a program is launched. Programs of tfjs are not affected',
    without: 'nothing to do: programs are tested before use and are not used if their results differ',
  },
  {
    what: 'A model is marked as training and gets another optimizer.',
    by: 'platform/tfjs/training.ts',
    why:
      'tfjs then refuses a second fit during `fitOnFeatures` and `findLearningRate`, and the latter uses its ' +
      'own optimizer.',
    lasts: 'while one of these two runs',
    without: 'do not call them',
  },
  {
    what: 'The slots and counters of an optimizer are set.',
    by: 'core/training/resetOptimizer.ts',
    why: 'An optimizer can start again, or continue from a checkpoint, without recompiling the model.',
    lasts: 'when `resetOptimizer` or `resume` is called, or an adapter of another shape is set',
    without: 'do not call them',
  },
  {
    what: 'A model accepts class indices as targets.',
    by: 'platform/tfjs/training.ts',
    why: 'tfjs accepts them only for losses on probabilities.',
    lasts: 'from `compileModel` until the model is compiled again',
    without: 'compile with your own loss and one-hot targets',
  },
  {
    what: 'Steps of a language model end at the states before its output head.',
    by: 'platform/tfjs/training.ts',
    why: 'The loss computes the logits of a few positions at a time, so a step needs less memory.',
    lasts: 'from `compileModel` or `compilePreferences` until the model is compiled again',
    without: 'compile with your own loss',
  },
];
