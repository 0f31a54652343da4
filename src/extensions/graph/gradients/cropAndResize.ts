import * as tf from '@tensorflow/tfjs';

/** One axis of the crops: the positions of their pixels in the image. */
interface CropAxis {
  /** `[boxes, crop]`. */
  places: tf.Tensor;
  /** The weight of the box's second end at each position, `[crop]`. The rest is that of the first end. */
  shares: tf.Tensor;
  /** The length of the image. */
  length: number;
}

/**
 * The gradient of `tf.image.cropAndResize` in the images and, if it is bilinear, in the boxes. Each crop is a product
 * of a piece of an image with a matrix along each of its axes, and so is its gradient.
 */
export const cropAndResizeGradient: tf.GradConfig = {
  kernelName: tf.CropAndResize,
  inputsToSave: ['image', 'boxes', 'boxInd'],
  gradFunc: (dy, saved, attrs) => {
    const [image, boxes, boxInd] = saved as [tf.Tensor4D, tf.Tensor2D, tf.Tensor1D];
    const {method, cropSize} = attrs as unknown as tf.CropAndResizeAttrs;
    /** The gradient where a pixel of a crop comes from the image, not from the fill value. */
    const inside = () => {
      const ones = tf.ones<tf.Rank.R4>([...image.shape.slice(0, 3), 1] as [number, number, number, number]);
      return tf.mul(dy as tf.Tensor, tf.image.cropAndResize(ones, boxes, boxInd, cropSize, method, 0));
    };
    const axes = () =>
      ([0, 1] as const).map(axis => axisOf(boxes, axis, cropSize[axis], image.shape[1 + axis] ?? 1)) as [
        CropAxis,
        CropAxis,
      ];
    return {
      image: () =>
        tf.tidy(() => {
          const [rows, columns] = axes().map(axis => samplingWeights(axis, method)) as [tf.Tensor, tf.Tensor];
          const pieces = swapped(alongRows(columns, swapped(alongRows(rows, inside(), true)), true));
          const owners = tf.oneHot(boxInd, image.shape[0]); // [boxes, n]
          const flat = tf.reshape<tf.Rank.R2>(pieces, [boxes.shape[0], -1]);
          return tf.reshape(tf.matMul(tf.cast(owners, 'float32') as tf.Tensor2D, flat, true), image.shape);
        }),
      boxes: () =>
        tf.tidy(() => {
          if (method === 'nearest') {
            return tf.zerosLike(boxes);
          }
          const [height, width] = axes();
          const pieces = tf.gather(image, boxInd);
          const gradient = inside();
          const ofRows = moves(height, alongRows(samplingWeights(width, method), swapped(pieces), false), gradient);
          const ofColumns = moves(width, alongRows(samplingWeights(height, method), pieces, false), swapped(gradient));
          const [y1, y2] = endsOf(height, ofRows);
          const [x1, x2] = endsOf(width, ofColumns);
          return tf.stack([y1, x1, y2, x2], 1);
        }),
      boxInd: () => tf.zeros(boxInd.shape),
    };
  },
};

/** The positions of the pixels of the crops, computed as in the kernels. */
function axisOf(boxes: tf.Tensor2D, axis: 0 | 1, crop: number, length: number): CropAxis {
  const count = boxes.shape[0];
  const [first, second] = [axis, axis + 2].map(at => tf.slice(boxes, [0, at], [count, 1])) as [tf.Tensor, tf.Tensor];
  if (crop === 1) {
    const places = tf.mul(tf.mul(0.5, tf.add(first, second)), length - 1);
    return {places, shares: tf.tensor1d([0.5]), length};
  }
  const steps = tf.div(tf.mul(tf.sub(second, first), length - 1), crop - 1);
  const numbers = tf.range(0, crop);
  return {
    places: tf.add(tf.mul(first, length - 1), tf.mul(tf.reshape(numbers, [1, crop]), steps)),
    shares: tf.div(numbers, crop - 1),
    length,
  };
}

/** The distance of each position from each pixel: `[boxes, crop, length]`. */
function distances({places, length}: CropAxis): tf.Tensor {
  const within = tf.clipByValue(places, 0, length - 1);
  return tf.sub(tf.expandDims(within, 2), tf.range(0, length));
}

/** The weight of each pixel at each position: `[boxes, crop, length]`. */
function samplingWeights(axis: CropAxis, method: tf.CropAndResizeAttrs['method']): tf.Tensor {
  if (method === 'bilinear') {
    return tf.relu(tf.sub(1, tf.abs(distances(axis))));
  }
  const {places, length} = axis;
  const nearest = tf.floor(tf.add(tf.clipByValue(places, 0, length - 1), 0.5));
  return tf.cast(tf.equal(tf.expandDims(nearest, 2), tf.range(0, length)), 'float32');
}

/** Multiplies the rows of each image: `[n, a, b] · [n, b, w, c] → [n, a, w, c]`; transposed `[n, b, a]`. */
function alongRows(matrix: tf.Tensor, images: tf.Tensor, transposed: boolean): tf.Tensor {
  const [n = 0, , w = 0, c = 0] = images.shape;
  const product = tf.matMul(matrix, tf.reshape(images, [n, -1, w * c]), transposed);
  return tf.reshape(product, [n, -1, w, c]);
}

function swapped(images: tf.Tensor): tf.Tensor {
  return tf.transpose(images, [0, 2, 1, 3]);
}

/**
 * The gradient in the positions along the rows, `[boxes, crop]`.
 *
 * @param pieces `[boxes, crop of the other axis, length, c]`: cropped along the other axis.
 * @param gradient `[boxes, crop, crop of the other axis, c]`.
 */
function moves(axis: CropAxis, pieces: tf.Tensor, gradient: tf.Tensor): tf.Tensor {
  const away = distances(axis);
  const near = tf.cast(tf.less(tf.abs(away), 1), 'float32');
  const slopes = tf.neg(tf.mul(near, tf.sign(away)));
  return tf.sum(tf.mul(alongRows(slopes, swapped(pieces), false), gradient), [2, 3]);
}

/** The gradients in the two ends of the boxes, `[boxes]` each. */
function endsOf({shares, length}: CropAxis, ofPlaces: tf.Tensor): [tf.Tensor, tf.Tensor] {
  const scaled = tf.mul(ofPlaces, length - 1);
  return [tf.sum(tf.mul(scaled, tf.sub(1, shares)), 1), tf.sum(tf.mul(scaled, shares), 1)];
}
